"""HC-STVG through the engine: ranking, metrics, predictions, files."""

import json

import naive_tubes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.data.loaders import build_test_loader
from mmn.data.splits import Splits
from mmn.data.tokenizer import build_tokenizer
from mmn.data.tube_annotations import parse_tube
from mmn.engine.data_files import cache_features, check_data
from mmn.engine.tasks import STVG_TASK
from mmn.evaluation.inference import predict
from mmn.evaluation.tube_metrics import TubePredictions, TubeRanker
from mmn.structures.batch import RowLayout
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import UserError

CELLS = ProposalCells(4, [3])


@pytest.fixture
def tokenizer(stvg_cfg):
    return build_tokenizer(stvg_cfg)


# ---- From scores to pieces -------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=4), st.lists(st.integers(1, 7), min_size=1, max_size=3), st.data()
)
def test_best_piece_is_that_of_looking_at_every_cell(first, second, data):
    lengths = [*first, *second]
    # Few different scores, below zero too, so that there are ties.
    values = data.draw(st.lists(st.integers(-3, 3), min_size=len(lengths) * 10, max_size=len(lengths) * 10))
    scores = torch.tensor(values).float().view(len(lengths), len(CELLS)) / 7
    layout = RowLayout.from_counts([len(first), len(second)])
    tubes, starts, stops, best = TubeRanker(CELLS).best(scores, layout, torch.tensor(lengths))
    cells = list(zip(CELLS.rows.tolist(), CELLS.cols.tolist(), strict=True))
    parts = ((scores[: len(first)], first), (scores[len(first) :], second))
    for video, (own_scores, own_lengths) in enumerate(parts):
        tube, rows, score = naive_tubes.best_piece(own_scores, own_lengths, 4, cells)
        found = (tubes[video].item(), starts[video].item(), stops[video].item(), best[video].item())
        assert found == (tube, rows.start, rows.stop, score)


# ---- Metrics ---------------------------------------------------------------------------------------------------------


def test_predicting_the_truth_scores_its_best_candidate(stvg_cfg, tokenizer):
    dataset = STVG_TASK.build_dataset(stvg_cfg, Splits(stvg_cfg).find("synthetic_stvg_test"), tokenizer)
    cells = ProposalCells(16, [15])
    rows = []
    for number in range(len(dataset)):
        scores = dataset.iou_maps(number)
        layout = RowLayout.from_counts([len(scores)])
        rows.append((torch.tensor([number]), *TubeRanker(cells).best(scores, layout, dataset.tubes[number].lengths)))
    predictions = TubePredictions(*(torch.cat(column) for column in zip(*rows, strict=True)))
    metrics = STVG_TASK.evaluate(predictions, dataset)
    assert metrics["m_vIoU"] == pytest.approx(predictions.scores.double().mean().item(), abs=1e-6)
    assert metrics["R@1,IoU@0.5"] == 1


# ---- Predictions and files -------------------------------------------------------------------------------------------


def predict_test_split(cfg, tokenizer):
    dataset = STVG_TASK.build_dataset(cfg, Splits(cfg).find("synthetic_stvg_test"), tokenizer)
    loader = build_test_loader(cfg, dataset, STVG_TASK.build_collator(cfg, tokenizer))
    torch.manual_seed(0)
    model = STVG_TASK.build_model(cfg, True)
    return dataset, predict(model, loader, STVG_TASK.build_ranker(cfg), torch.device("cpu"))


def test_written_predictions_are_pieces_of_candidates(stvg_cfg, tokenizer, tmp_path):
    dataset, predictions = predict_test_split(stvg_cfg, tokenizer)
    STVG_TASK.write_predictions(str(tmp_path / "out.json"), dataset, predictions.merge())
    content = json.loads((tmp_path / "out.json").read_text())
    assert list(content) == [video.video_id for video in dataset.videos]
    for number, entry in enumerate(content.values()):
        assert entry.keys() == {"st_frame", "ed_frame", "bbox"}
        found = naive_tubes.frames_of(parse_tube("the file", entry), 0)
        candidates = [
            naive_tubes.frames_of(dataset.tubes[number], tube) for tube in range(len(dataset.tubes[number].lengths))
        ]
        assert any(found.items() <= candidate.items() for candidate in candidates)


def test_cached_features_give_the_same_predictions(stvg_cfg, tokenizer, tmp_path):
    _, direct = predict_test_split(stvg_cfg, tokenizer)
    stvg_cfg.DATALOADER.CACHE_DIR = str(tmp_path / "clips")
    cache_features(stvg_cfg)
    _, cached = predict_test_split(stvg_cfg, tokenizer)
    assert torch.equal(direct.scores, cached.scores)


def test_cache_of_other_tubes_is_refused(stvg_cfg, tokenizer, tmp_path):
    stvg_cfg.DATALOADER.CACHE_DIR = str(tmp_path / "clips")
    cache_features(stvg_cfg)
    stvg_cfg.DATASETS.TEST = ("synthetic_stvg_val",)
    index = tmp_path / "clips" / "synthetic_stvg_val.json"
    index.write_text((tmp_path / "clips" / "synthetic_stvg_test.json").read_text())
    with pytest.raises(UserError, match="is not of the videos"):
        STVG_TASK.build_dataset(stvg_cfg, Splits(stvg_cfg).find("synthetic_stvg_val"), tokenizer)


def test_data_without_a_problem_is_said_to_be(stvg_cfg, capsys):
    check_data(stvg_cfg)
    assert capsys.readouterr().out.count(": no problem") == 3
