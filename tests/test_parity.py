"""Agreement with the recorded outputs of the reference program, within the tolerances of SPEC section 9.

The fixtures are found by `golden_fixture.py`; `parity_report.py` prints how large the differences are.
"""

import json

import numpy as np
import parity
import pytest
import rounding
import torch
from real_annotations import ANNOTATIONS, ROOT, needs_real_annotations
from torch.testing import assert_close
from transformers import DistilBertConfig

from golden_fixture import GOLDEN, MMN_FIXTURES, POOL_FIXTURES, GoldenFixture, load_npz
from mmn import reference
from mmn.apps.benchmark.reference_arguments import reference_settings, reference_videos
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.config import load_config
from mmn.config.paths_catalog import CATALOG
from mmn.data.annotations import count_sentences, read_annotations
from mmn.data.features import resample_clips
from mmn.data.tokenizer import QueryTokenizer
from mmn.evaluation.inference import MomentRanker, Predictions
from mmn.evaluation.moment_metrics import ranked_ious
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.modeling import build_model, build_proposal_cells
from mmn.solver import build_optimizer, build_scheduler
from mmn.structures.moments import cell_ious
from mmn.structures.proposals import ProposalCells
from mmn.utils.checkpoint import load_checkpoint

MAPS = ("featpool", "map2d", "prop_contrastive", "prop_iou", "sent_contrastive", "sent_iou")
RELEASED = {"tacos": "tacos_128x128_k5l8", "activitynet": "activitynet_64x64_k9l4", "charades": "charades_16x16_k5l8"}

each_fixture = pytest.mark.parametrize("name", MMN_FIXTURES)
# Training amplifies rounding: tests/rounding.py says what each precision is held to.
each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@pytest.fixture
def golden(name) -> GoldenFixture:
    return parity.fixture(name)


def test_there_are_fixtures():
    assert MMN_FIXTURES, f"no fixtures in {GOLDEN}"


# ---- Inputs ----------------------------------------------------------------------------------------------------------


def test_resampling_of_every_length():
    arrays = load_npz("avgfeats.npz")
    names = [name.removesuffix("_in") for name in arrays if name.endswith("_in")]
    assert names
    for name in names:
        num_clips = int(name.split("_P")[1])
        measured = torch.from_numpy(resample_clips(arrays[f"{name}_in"].numpy(), num_clips))
        assert_close(measured, arrays[f"{name}_out"], rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


@each_fixture
def test_resampling_of_raw_features(golden):
    names = [name.removesuffix("_raw") for name in golden.arrays if name.endswith("_raw")]
    for name in names:
        recorded = golden.arrays[f"{name}_pooled"]
        measured = torch.from_numpy(resample_clips(golden.arrays[f"{name}_raw"].numpy(), len(recorded)))
        assert_close(measured, recorded, rtol=0, atol=1e-6)


@each_fixture
def test_tokens(golden):
    tokenizer = QueryTokenizer(str(GOLDEN / "bert"))
    for number, videos in enumerate(golden.meta["sentences"]):
        batch = golden.batch(number)
        tokens = tokenizer([sentence for sentences in videos for sentence in sentences])
        for ids, row, mask in zip(tokens, batch.tokens, batch.token_mask, strict=True):
            assert ids.tolist() == row[mask.bool()].tolist()


def test_iou_maps_exactly():
    arrays = load_npz("iou2d.npz")
    for name in (name.removesuffix("_args") for name in arrays if name.endswith("_args")):
        num_clips, duration, start, end = arrays[f"{name}_args"].tolist()
        cells = ProposalCells(int(num_clips), [int(num_clips) - 1])  # all cells i <= j
        measured = cell_ious(cells, torch.tensor([[start, end]]), torch.tensor([duration]))[0]
        assert torch.equal(measured, cells.from_map(arrays[f"{name}_iou2d"])), name


@each_fixture
@pytest.mark.parametrize("number", [0, 1])
def test_iou_maps_of_batches_exactly(golden, number):
    cells, batch = build_proposal_cells(golden.cfg), golden.batch(number)
    measured = cell_ious(cells, batch.moments, batch.sentence_durations)
    assert torch.equal(measured, cells.from_map(golden.recorded_iou_maps(number)))


@each_fixture
def test_valid_cells(golden):
    assert torch.equal(build_proposal_cells(golden.cfg).mask, golden.recorded("eval.npz")["mask2d"])


# ---- Inference -------------------------------------------------------------------------------------------------------


@each_fixture
@pytest.mark.parametrize("map_name", MAPS)
def test_intermediate_map(golden, name, map_name):
    assert_close(parity.intermediate_maps(name)[map_name], golden.recorded("eval.npz")[map_name], rtol=1e-5, atol=1e-5)


@each_fixture
@pytest.mark.parametrize("weights, file", [("checkpoint.pth", "eval.npz"), ("trained.pth", "trained_eval.npz")])
def test_scores_of_checkpoint(golden, name, weights, file):
    for measured, recorded in zip(parity.score_maps(name, weights), golden.recorded_scores(file), strict=True):
        assert parity.absolute_error(measured, recorded) <= 1e-5


@each_fixture
@pytest.mark.parametrize("weights, file", [("checkpoint.pth", "eval.npz"), ("trained.pth", "trained_eval.npz")])
def test_localizer_scores_raw_features_and_words_as_recorded(golden, weights, file):
    """The whole way of the Python API, with a checkpoint as the released program writes it."""
    localizer = MomentLocalizer.from_checkpoint(golden.checkpoint(weights), golden.cfg, "cpu")
    measured = []
    for number, (duration, sentences) in enumerate(
        zip(golden.meta["durations"][0], golden.meta["sentences"][0], strict=True)
    ):
        rows = golden.arrays[f"b0_v{number}_raw"]
        measured.append(localizer.score_maps(rows, sentences, duration=duration))
    for maps, recorded in zip(zip(*measured, strict=True), golden.recorded_scores(file), strict=False):
        assert parity.absolute_error(torch.cat([torch.from_numpy(part[:, 0]) for part in maps]), recorded) <= 1e-5


@each_fixture
def test_nms_order_on_recorded_scores(golden):
    cells, batch = build_proposal_cells(golden.cfg), golden.batch(0)
    ranker = MomentRanker(cells, nms_threshold=0.5, contrastive_power=0.5, num_predictions=len(cells))
    maps = golden.recorded_scores("eval.npz")
    moments, scores = ranker.rank(*(cells.from_map(scores) for scores in maps), batch.sentence_durations)
    for kept, kept_scores, recorded in zip(moments, scores, golden.recorded_nms(), strict=True):
        assert_close(kept[kept_scores > 0], recorded, rtol=0, atol=1e-5)


# ---- Training --------------------------------------------------------------------------------------------------------


@each_fixture
@pytest.mark.parametrize("loss", ["vid", "sent", "iou"])
def test_loss(golden, name, loss):
    recorded = golden.recorded("train_step.npz")[f"loss_{loss}"]
    assert_close(parity.train_step(name, torch.float32)[0][f"loss_{loss}"], recorded, rtol=1e-6, atol=0)


@each_fixture
@each_precision
def test_every_gradient(golden, name, dtype):
    gradients = parity.train_step(name, dtype)[1]
    recorded = {key: value for key, value in golden.recorded("train_step.npz").items() if key.startswith("grad_")}
    assert gradients.keys() == recorded.keys()
    for key, value in recorded.items():
        parity.assert_gradient_close(gradients[key], value, key, parity.limits(name, dtype).gradients)


@each_fixture
def test_batch_norm_buffers_after_a_step(golden, name):
    buffers = parity.train_step(name, torch.float32)[2]
    recorded = {key: value for key, value in golden.recorded("train_step.npz").items() if key.startswith("bn_")}
    assert buffers.keys() >= recorded.keys()
    for key, value in recorded.items():
        assert_close(buffers[key], value, rtol=1e-5, atol=1e-6)


@each_fixture
@each_precision
@pytest.mark.parametrize("column", range(len(parity.HISTORY)), ids=parity.HISTORY)
def test_trajectory(golden, name, dtype, column):
    measured, recorded = parity.trajectory(name, dtype)[0], golden.recorded("trajectory.npz")["history"]
    changes = parity.relative_changes(measured, recorded)[:, column].tolist()
    for step, (change, limit) in enumerate(zip(changes, parity.limits(name, dtype).history, strict=True)):
        assert change <= (limit if column in parity.LOSSES else 1e-12), f"step {step + 1}"


@each_fixture
@each_precision
def test_trained_weights(golden, name, dtype):
    weights, initial = parity.trajectory(name, dtype)[1], golden.model().state_dict()
    for key, wanted in parity.recorded_weights(golden).items():
        if not wanted.is_floating_point():
            assert torch.equal(weights[key], wanted), key
        elif parity.is_comparable_after_training(key):
            change = rounding.share_of_norm(weights[key] - initial[key], wanted - initial[key])
            assert change <= parity.limits(name, dtype).weights, key


@each_fixture
def test_recorded_end_is_that_of_the_released_file(golden):
    recorded, released = golden.recorded("trajectory.npz"), parity.recorded_weights(golden)
    bert = torch.cat([value.flatten() for key, value in released.items() if key.startswith("text_encoder.bert.")])
    assert_close(bert.norm(), recorded.pop("final_bert_norm"), rtol=1e-6, atol=0)
    finals = {key: value for key, value in recorded.items() if key.startswith("final_")}
    assert {key.split(".")[0] for key in finals} == {"final_featpool", "final_text_encoder", "final_proposal_conv"} | (
        {"final_feat2d"} if golden.cfg.MODEL.MMN.FEAT2D.NAME == "conv" else set()
    )
    assert all(torch.equal(released[key.removeprefix("final_")], value) for key, value in finals.items())


# ---- The method in one file, which knows max pooling alone -----------------------------------------------------------


each_pool_fixture = pytest.mark.parametrize("name", POOL_FIXTURES)


def test_reference_resamples_features_of_every_length():
    arrays = load_npz("avgfeats.npz")
    for name in (name.removesuffix("_in") for name in arrays if name.endswith("_in")):
        measured = reference.resample(arrays[f"{name}_in"], num_pre_clips=int(name.split("_P")[1]))
        assert_close(measured, arrays[f"{name}_out"], rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_reference_iou_maps_exactly():
    arrays = load_npz("iou2d.npz")
    for name in (name.removesuffix("_args") for name in arrays if name.endswith("_args")):
        num_clips, duration, *moment = arrays[f"{name}_args"].tolist()
        assert torch.equal(reference.iou_map(torch.tensor(moment), duration, int(num_clips)), arrays[f"{name}_iou2d"])


@each_pool_fixture
@pytest.mark.parametrize("weights, file", [("checkpoint.pth", "eval.npz"), ("trained.pth", "trained_eval.npz")])
def test_reference_scores(golden, name, weights, file):
    for measured, recorded in zip(parity.reference_scores(name, weights), golden.recorded_scores(file), strict=True):
        assert parity.absolute_error(measured, recorded) <= 1e-5


@each_pool_fixture
def test_reference_losses_gradients_and_batch_norm_buffers(golden, name):
    losses, gradients, buffers = parity.reference_step(name)
    for key, value in golden.recorded("train_step.npz").items():
        if key.startswith("loss_"):
            assert_close(losses[key], value, rtol=1e-6, atol=0, check_dtype=False)
        elif key.startswith("grad_"):
            parity.assert_gradient_close(gradients[key], value, key)
        elif not key.endswith("num_batches_tracked"):  # which the reference does not count
            assert_close(buffers[key], value, rtol=1e-5, atol=1e-6, check_dtype=False)


@each_pool_fixture
def test_reference_ranking_of_recorded_scores(golden):
    settings = reference_settings(golden.cfg)._replace(nms_thresh=0.5, contrastive_score_pow=0.5)
    durations = [video.duration for video in reference_videos(golden.batch(0)) for _ in video.moments]
    scores = zip(*golden.recorded_scores("eval.npz"), durations, golden.recorded_nms(), strict=True)
    for contrastive, iou, duration, recorded in scores:
        moments, _ = reference.rank(contrastive, iou, duration, settings)
        assert_close(moments, recorded, rtol=0, atol=1e-5)


# ---- Checkpoints and configs -----------------------------------------------------------------------------------------


@each_fixture
def test_released_optimizer_state_belongs_to_our_parameters(golden):
    checkpoint = load_checkpoint(str(golden.checkpoint("trained.pth")))
    optimizer = build_optimizer(golden.cfg, golden.model("trained.pth"))
    optimizer.load_state_dict(checkpoint["optimizer"])
    recorded = [group["lr"] for group in checkpoint["optimizer"]["param_groups"]]
    assert [group["lr"] for group in optimizer.param_groups] == recorded == pytest.approx([2e-5, 2e-6])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(optimizer.state[parameter]["exp_avg"].shape == parameter.shape for parameter in parameters)


@each_fixture
@each_precision
def test_released_optimizer_state_is_in_our_order(golden, name, dtype):
    """Tensors of equal shape could be swapped unseen: our own run must end with the released second moments."""
    released = load_checkpoint(str(golden.checkpoint("trained.pth")))["optimizer"]["state"]
    ours = parity.trajectory(name, dtype)[2]
    for index, key in enumerate(parity.optimizer_order(name)):
        if parity.is_comparable_after_training(key):
            change = rounding.share_of_norm(ours[key], released[index]["exp_avg_sq"])
            assert change <= parity.limits(name, dtype).second_moments, key


@each_fixture
def test_released_scheduler_state_loads(golden):
    checkpoint = load_checkpoint(str(golden.checkpoint("trained.pth")))
    scheduler = build_scheduler(golden.cfg, build_optimizer(golden.cfg, golden.model()))
    scheduler.load_state_dict(checkpoint["scheduler"])
    assert scheduler.last_epoch == checkpoint["epoch"] == golden.cfg.SOLVER.MAX_EPOCH


@each_fixture
def test_released_checkpoint_carries_what_is_dropped(golden):
    content = torch.load(golden.checkpoint("trained.pth"), weights_only=True)["model"]
    assert all(key.startswith("module.") for key in content)
    dropped = {key.removeprefix("module.") for key in content} - golden.model().state_dict().keys()
    assert dropped == {"text_encoder.bert.embeddings.position_ids"}


@pytest.fixture(scope="module")
def full_size_encoder(tmp_path_factory):
    """A folder with the config of distilbert-base-uncased and no weights."""
    folder = tmp_path_factory.mktemp("distilbert")
    DistilBertConfig().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("dataset", RELEASED)
def test_state_dict_of_released_config(dataset, full_size_encoder):
    recorded = json.loads((GOLDEN / "state_dict_shapes.json").read_text())[dataset]
    options = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", full_size_encoder]
    cfg = load_config(str(ROOT / "configs" / f"pool_{RELEASED[dataset]}.yaml"), options)
    with torch.device("meta"):
        state = build_model(cfg, pretrained_text=False).state_dict()
    recorded = {key.removeprefix("module."): shape for key, shape in recorded.items()}
    recorded = {key: shape for key, shape in recorded.items() if not key.endswith(".position_ids")}
    assert {key: list(value.shape) for key, value in state.items()} == recorded


# ---- Real annotations ------------------------------------------------------------------------------------------------

COUNTS = {
    "tacos_train": (75, 9790),
    "tacos_val": (27, 4436),
    "tacos_test": (25, 4001),
    "activitynet_train": (10009, 37417),
    "activitynet_val": (4917, 17505),
    "activitynet_test": (4885, 17031),
    "charades_train": (5336, 12404),
    "charades_test": (1334, 3720),
}


def read_split(split):
    entry = CATALOG[split]
    return read_annotations(str(ANNOTATIONS / entry.annotation), entry.time_unit)


@needs_real_annotations
@pytest.mark.parametrize("split", COUNTS)
def test_counts_of_real_split(split):
    videos = read_split(split)
    assert (len(videos), count_sentences(videos)) == COUNTS[split]


@needs_real_annotations
@pytest.mark.parametrize("split, num_clamped", [("tacos_train", 43), ("activitynet_train", 261)])
def test_ends_beyond_the_duration_are_clamped(split, num_clamped):
    raw = json.loads((ANNOTATIONS / CATALOG[split].annotation).read_text())
    videos = read_split(split)
    found = 0
    for video in videos:
        entry = raw[video.video_id]
        unit = entry.get("fps", 1)
        kept = [times for times in entry["timestamps"] if times[0] < times[1]]
        for (start, end), moment in zip(kept, video.moments, strict=True):
            beyond = end / unit > video.duration
            found += beyond
            wanted = [start / unit, video.duration if beyond else end / unit]
            assert moment.tolist() == np.array(wanted, dtype=np.float32).tolist()
    assert found == num_clamped


@needs_real_annotations
def test_ties_for_the_third_positive_of_tacos():
    cells = ProposalCells(128, [15, 8, 8, 8])
    num_ties = 0
    for video in read_split("tacos_train"):
        moments = torch.from_numpy(video.moments)
        ious = cell_ious(cells, moments, torch.full((len(moments),), video.duration))
        best = ious.topk(4, dim=1).values
        num_ties += int((best[:, 2] == best[:, 3]).sum())
    assert num_ties == 560


def draw_scores(rng, count, mask):
    """Scores of one video as recall.json says."""
    size = (count, *mask.shape)
    contrastive = (rng.random(size, dtype=np.float32) * 2 - 1) * mask
    return torch.from_numpy(contrastive), torch.from_numpy(rng.random(size, dtype=np.float32) * mask)


@needs_real_annotations
@pytest.mark.parametrize("dataset", RELEASED)
def test_recall_table_of_seeded_scores(dataset):
    content = json.loads((GOLDEN / "recall.json").read_text())
    table, rng = content[dataset], np.random.default_rng(content["seed"])
    entry = CATALOG[f"{dataset}_test"]
    cells = ProposalCells(table["num_clips"], table["pooling_counts"])
    ranker = MomentRanker(cells, table["nms_thresh"], table["contrastive_score_pow"], num_predictions=10)
    ious = []
    for video in read_annotations(str(ANNOTATIONS / table["annotation"]), entry.time_unit)[: table["videos"]]:
        truth = torch.from_numpy(video.moments[: table["sentences_per_video_at_most"]])
        contrastive, iou = (cells.from_map(scores) for scores in draw_scores(rng, len(truth), cells.mask.numpy()))
        ranked = ranker.rank(contrastive, iou, torch.full((len(truth),), video.duration))
        ious.append(ranked_ious(Predictions(torch.arange(len(truth)), *ranked), truth[:, None]))
    ious = torch.cat(ious)
    measured = recall_metrics(count_hits(ious, entry.thresholds), len(ious), entry.thresholds)
    assert len(ious) == table["sentences"]
    assert measured == pytest.approx(table["recall"], abs=1e-6)
