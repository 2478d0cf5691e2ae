"""Predictions of a split: the same for any batch size and number of processes, and how they are written."""

import json

import pytest
import torch
from tiny import without_biases
from torch.testing import assert_close
from torch.utils.data import DataLoader

from mmn.data import Splits, build_dataset
from mmn.data.collate import Collator
from mmn.data.samplers import ShardSampler
from mmn.data.tokenizer import build_tokenizer
from mmn.evaluation.inference import HighlightPredictions, MomentRanker, Predictions, predict
from mmn.evaluation.moment_metrics import evaluate, write_predictions
from mmn.modeling import build_model, build_proposal_cells
from mmn.modeling.scoring import final_score
from mmn.utils import comm
from mmn.utils.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tiny_cfg):
    return build_dataset(tiny_cfg, Splits(tiny_cfg).find("synthetic_test"), build_tokenizer(tiny_cfg))


@pytest.fixture
def ranker(tiny_cfg):
    return MomentRanker(build_proposal_cells(tiny_cfg), 0.5, 0.5, num_predictions=6)


@pytest.fixture
def model(tiny_cfg):
    return without_biases(build_model(tiny_cfg))


def predict_shards(model, ranker, dataset, batch_size, world_size):
    """What each of `world_size` processes would predict."""
    samplers = [ShardSampler(len(dataset), rank, world_size) for rank in range(world_size)]
    collate = Collator(dataset.pad_id)
    loaders = [DataLoader(dataset, batch_size, sampler=sampler, collate_fn=collate) for sampler in samplers]
    return [predict(model, loader, ranker, CPU) for loader in loaders]


@pytest.fixture
def whole(model, ranker, dataset):
    return predict_shards(model, ranker, dataset, batch_size=len(dataset), world_size=1)[0]


def test_a_split_encodes_each_sentence_once(model, ranker, dataset, monkeypatch):
    encoder, encoded = model.text_encoder, []
    encode = encoder._encode

    def counting(tokens, token_mask):
        encoded.extend(tuple(row[: mask.sum()].tolist()) for row, mask in zip(tokens, token_mask, strict=True))
        return encode(tokens, token_mask)

    monkeypatch.setattr(encoder, "_encode", counting)
    twice = [*range(len(dataset))] * 2
    predict(model, DataLoader(dataset, 1, sampler=twice, collate_fn=Collator(dataset.pad_id)), ranker, CPU)
    distinct = {tuple(ids.tolist()) for number in range(len(dataset)) for ids in dataset[number].tokens}
    assert sorted(encoded) == sorted(distinct)


@pytest.mark.parametrize("batch_size, world_size", [(2, 1), (1, 2), (2, 3), (5, 7)])  # 7: more processes than videos
def test_predictions_depend_neither_on_batch_size_nor_on_processes(
    model, ranker, dataset, whole, batch_size, world_size, monkeypatch
):
    shards = predict_shards(model, ranker, dataset, batch_size, world_size)
    monkeypatch.setattr(comm, "all_gather_objects", lambda value: shards)
    merged = shards[0].merge()
    assert torch.equal(merged.sentence_ids, whole.sentence_ids)
    assert_close(merged.scores, whole.scores, rtol=1e-5, atol=1e-6)
    is_same = (merged.moments == whole.moments).all(dim=-1)
    assert is_same.float().mean() > 0.95  # where two scores differ by rounding alone, either moment may be first


def test_every_sentence_is_predicted_once_in_annotation_order(whole, dataset):
    assert whole.sentence_ids.tolist() == list(range(dataset.num_sentences))


def test_merging_orders_sentences_and_drops_duplicates(monkeypatch):
    def part(*ids):
        values = torch.tensor(ids, dtype=torch.float32)
        return Predictions(torch.tensor(ids), values[:, None, None].expand(-1, 1, 2), values[:, None])

    monkeypatch.setattr(comm, "all_gather_objects", lambda value: [part(2, 3, 0), part(1, 0)])
    merged = part(2, 3, 0).merge()
    assert merged.sentence_ids.tolist() == [0, 1, 2, 3]
    assert merged.scores[:, 0].tolist() == merged.moments[:, 0, 1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_the_model_in_its_mode_and_without_gradients(model, ranker, dataset, training):
    model.train(training)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    (predictions,) = predict_shards(model, ranker, dataset, 2, 1)
    assert model.training is training
    assert not predictions.scores.requires_grad
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


def test_scores_descend_and_moments_lie_in_their_videos(whole, dataset):
    assert (whole.scores.diff(dim=1) <= 0).all()
    durations = torch.tensor([video.duration for video in dataset.videos for _ in video.sentences])
    kept = whole.moments[whole.scores > 0]
    assert (kept[:, 0] < kept[:, 1]).all()
    assert (whole.moments[..., 1] <= durations[:, None] + 1e-4).all()


def test_evaluating_counts_the_share_of_hits(whole, dataset):
    truth = torch.cat([torch.from_numpy(video.moments) for video in dataset.videos])
    perfect = Predictions(whole.sentence_ids, truth[:, None].expand(-1, 6, -1), whole.scores)
    assert set(evaluate(perfect, dataset).values()) == {1.0}


# ---- The dump --------------------------------------------------------------------------------------------------------


@pytest.fixture
def records(whole, dataset, tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_predictions(str(path), dataset, whole)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_dump_has_one_line_per_sentence_in_annotation_order(records, dataset):
    wanted = [(video.video_id, sentence) for video in dataset.videos for sentence in video.sentences]
    assert [(record["vid"], record["query"]) for record in records] == wanted
    assert [record["qid"] for record in records] == list(range(len(wanted)))


def test_dump_has_the_schema_of_qvhighlights(records, dataset):
    keys = ["qid", "query", "vid", "duration", "relevant_windows", "pred_relevant_windows"]
    assert all(list(record) == keys for record in records)
    truth = [[moment] for video in dataset.videos for moment in video.moments.tolist()]
    assert [record["relevant_windows"] for record in records] == truth


def test_dump_has_the_ranked_moments_to_the_last_digit(records, whole):
    for record, moments, scores in zip(records, whole.moments, whole.scores, strict=True):
        windows = torch.tensor(record["pred_relevant_windows"])
        kept = int((scores > 0).sum())
        assert torch.equal(windows, torch.cat([moments[:kept], scores[:kept, None]], dim=1))


def test_dump_leaves_padding_out(dataset, whole, tmp_path):
    whole.scores[:, 2:] = 0
    write_predictions(str(tmp_path / "short.jsonl"), dataset, whole)
    lines = (tmp_path / "short.jsonl").read_text().splitlines()
    assert {len(json.loads(line)["pred_relevant_windows"]) for line in lines} == {2}


def test_scores_that_are_not_finite_end_in_a_sentence(dataset, ranker, model):
    with torch.no_grad():
        model.proposal_conv.conv1x1_iou.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="the model's scores are not finite numbers"):
        predict_shards(model, ranker, dataset, 2, 1)


def test_clip_scores_are_the_final_scores_of_the_diagonal(ranker):
    cells = ranker.cells
    generator = torch.Generator().manual_seed(0)
    contrastive, iou = torch.rand(2, 3, len(cells), generator=generator)
    plain = ranker.rank(contrastive, iou, torch.tensor([10.0, 20.0, 30.0]))
    ranker.keeps_clip_scores = True
    *same, clips = ranker.rank(contrastive, iou, torch.tensor([10.0, 20.0, 30.0]))
    assert all(torch.equal(*pair) for pair in zip(plain, same, strict=True))
    dense = cells.to_map(final_score(contrastive, iou, 0.5))
    assert torch.equal(clips, dense.diagonal(dim1=1, dim2=2))
    assert len(ranker.no_rows()) == len(plain) + 1


@pytest.mark.parametrize(
    "duration, wanted",
    [(8, [0, 1, 2, 3]), (16, [0, 0, 1, 1, 2, 2, 3, 3]), (3.5, [1]), (1, [3]), (4.2, [0, 2])],
)
def test_saliency_of_a_clip_is_the_score_that_its_middle_lies_in(duration, wanted):
    row = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    predictions = HighlightPredictions(torch.tensor([0]), torch.zeros(1, 1, 2), torch.zeros(1, 1), row)
    assert predictions.of_clips(0, duration) == wanted
