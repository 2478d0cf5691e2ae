"""What the code computes on the recorded fixtures of 2D-TAN, and how far off it is; for the tests and the report."""

import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import parity
import torch
from torch import Tensor, nn

from golden_fixture import TanFixture
from mmn.engine.tasks import build_map_ranker
from mmn.engine.trainer import Trainer
from mmn.engine.update import WeightUpdate
from mmn.evaluation.inference import predict
from mmn.evaluation.tan2d_metrics import MapRanker
from mmn.evaluation.validation_loss import LossRecorder
from mmn.modeling.build import build_map_criterion
from mmn.modeling.tan2d import cell_ious, exact_cell_ious
from mmn.solver import MAP_RECIPE


@functools.cache
def fixture(name: str) -> TanFixture:
    return TanFixture(name)


@functools.cache
@torch.no_grad()
def score_maps(name: str) -> tuple[Tensor, Tensor]:
    """Logits and scores of all sentences, each [S, N, N], zero outside the valid cells."""
    golden = fixture(name)
    output = golden.model().eval()(golden.batch())
    return golden.cells.to_map(output.logits), golden.cells.to_map(output.scores)


@functools.cache
@torch.no_grad()
def intermediate_maps(name: str) -> dict[str, Tensor]:
    """Every map of eval.npz by its name there, of the first sentences, with the dense form layer by layer."""
    golden = fixture(name)
    model, batch = golden.model().eval(), golden.batch(range(len(golden.recorded("eval.npz")["fused"])))
    fusion, stack, rows = model.fusion_layer, model.map_layer, batch.token_rows
    clips = model.frame_layer(batch.feats)
    packed = model.prop_layer(clips)
    moments, sentences = fusion.encode_moments(packed), fusion.encode_sentences(batch.tokens, batch.token_mask)[rows]
    fused, around = fusion(moments[batch.video_index], sentences)
    x = golden.cells.to_map(fused.mT, around)
    maps = {
        "frame": model.frame_layer.vis_conv(batch.feats.mT).relu()[batch.video_index],
        "clips": clips[batch.video_index],
        "map": golden.cells.to_map(packed)[batch.video_index],
        "sentence": fusion.encode_words(batch.tokens, batch.token_mask)[rows],
        "sentence_proj": sentences,
        "map_proj": fusion.vis_conv(golden.cells.to_map(packed))[batch.video_index],
        "fused": x,
    }
    for layer, conv in enumerate(stack.convs):
        weight = getattr(stack, f"window_weight_{layer}")
        x = conv(x).relu() * weight
        maps |= {f"weight_{layer}": weight, f"conv_{layer}": x}
    return maps


@functools.cache
def sentence_losses(name: str) -> Tensor:
    """[S] of all sentences in file order."""
    golden = fixture(name)
    batch = golden.batch()
    with torch.no_grad():
        return build_map_criterion(golden.cfg).sentence_losses(golden.model().eval()(batch), batch)


def iou_maps(name: str) -> Tensor:
    """[S, M] of all sentences."""
    golden = fixture(name)
    batch = golden.batch()
    function = exact_cell_ious if golden.cfg.MODEL.TAN2D.MASK_FUSION else cell_ious
    return function(golden.cells, batch.moments, batch.sentence_durations)


@functools.cache
def train_step(name: str) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Loss, gradients by parameter, and their norm, of the first step."""
    golden = fixture(name)
    model, batch = golden.model(), golden.batch(golden.batches()[0][0])
    loss = build_map_criterion(golden.cfg)(model(batch), batch)["iou"]
    loss.backward()
    gradients = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    return loss.detach(), gradients, nn.utils.get_total_norm(gradients.values())


class FixtureBatches:
    """The least that a trainer needs of a loader: the fixture's batches of every epoch, in its order."""

    def __init__(self, golden: TanFixture, dtype: torch.dtype):
        self.golden = golden
        self.dtype = dtype
        self.sampler = SimpleNamespace(epoch=1)
        self.dataset = range(len(golden.meta["sentences"]))

    def __len__(self) -> int:
        return len(self.golden.batches()[0])

    def __iter__(self):
        epoch = self.golden.batches()[self.sampler.epoch - 1]
        return (self.golden.batch(sentences, self.dtype) for sentences in epoch)


@functools.cache
def trajectory(name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
    """The fixture's training through the trainer.

    Returns rows [6, 5] and evaluations [3, 3] as trajectory.npz has them, the final weights, and scores of all sentences.
    """
    return train(fixture(name), fixture(name).model(dtype))


def train(golden: TanFixture, model: nn.Module) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
    """`trajectory` of any initial weights."""
    device, dtype = torch.device("cpu"), parity.dtype_of(model)
    cfg, ranker = golden.training_config(), build_map_ranker(golden.cfg)
    criterion = build_map_criterion(cfg)

    def evaluate(network: nn.Module) -> dict[str, float]:
        recorder = LossRecorder(ranker, criterion.sentence_losses)
        predict(network, SentencesInOrder(golden, dtype), recorder, device)
        return {"Best_R1": 0.0, "loss": recorder.mean_of_batches(golden.sentence_batch)}

    with tempfile.TemporaryDirectory() as cfg.OUTPUT_DIR:
        optimizer = MAP_RECIPE.build_optimizer(cfg, model)
        update = WeightUpdate(cfg, MAP_RECIPE, model, criterion, optimizer, device)
        trainer = Trainer(
            cfg, update, MAP_RECIPE.build_scheduler(cfg, optimizer), FixtureBatches(golden, dtype), evaluate
        )
        trainer.train()
        rows = [json.loads(line) for line in Path(cfg.OUTPUT_DIR, "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "train"]
    history = [[row["step"], row["epoch"] - 1, row["loss"], row["grad_norm"], row["lr"]] for row in steps]
    rates = {row["step"] - 1: row["lr"] for row in steps} | {len(steps): optimizer.param_groups[0]["lr"]}
    evaluations = [[row["step"], row["loss"], rates[row["step"]]] for row in rows if row["kind"] != "train"]
    with torch.no_grad():
        scores = golden.cells.to_map(model.eval()(golden.batch(dtype=dtype)).scores)
    history = torch.tensor(history, dtype=torch.float64)
    evaluations = torch.tensor(evaluations, dtype=torch.float64).reshape(-1, 3)
    return history, evaluations, model.state_dict(), scores


class SentencesInOrder:
    """All sentences in file order, in batches of another size than those of the validation loss."""

    def __init__(self, golden: TanFixture, dtype: torch.dtype):
        self.golden = golden
        self.dtype = dtype

    def __iter__(self):
        numbers = range(len(self.golden.meta["sentences"]))
        return (self.golden.batch(numbers[start : start + 3], self.dtype) for start in numbers[::3])


def kept_moments(name: str, num_kept: int) -> list[Tensor]:
    """Moments [n, 2] that suppression keeps of each sentence, on the recorded scores."""
    golden = fixture(name)
    scores = golden.cells.from_map(golden.recorded("eval.npz")["scores"])
    ranker = MapRanker(golden.cells, golden.meta["config"]["NMS"], num_kept)
    moments, kept = ranker.rank(scores, golden.batch().sentence_durations)
    return [own[found > 0] for own, found in zip(moments, kept, strict=True)]


def worst_errors(name: str) -> dict[str, float]:
    """The figures of the parity report."""
    golden, (loss, gradients, norm) = fixture(name), train_step(name)
    recorded, scores = golden.recorded("train_step.npz"), golden.recorded("eval.npz")["scores"]
    wanted = golden.recorded_weights("grad.", "train_step.npz")
    history, evaluations, weights, final_scores = trajectory(name, torch.float32)
    end = golden.recorded("trajectory.npz")
    evaluated = end.get("evaluations", torch.zeros(0, 3))
    finals = golden.recorded_weights("final.", "trajectory.npz")
    return {
        "scores, absolute": parity.absolute_error(score_maps(name)[1], scores),
        "loss and norm, relative": max(
            parity.relative_error(loss, recorded["loss"]), parity.relative_error(norm, recorded["grad_norm"])
        ),
        "gradients, relative to each tensor's largest entry": max(
            parity.relative_error(gradients[key], value) for key, value in wanted.items()
        ),
        "gradients, absolute": max(parity.absolute_error(gradients[key], value) for key, value in wanted.items()),
        "trajectory, losses and norms, relative": parity.relative_changes(history, end["rows"])[:, 2:4].max().item(),
        "validation losses, relative": max(parity.relative_changes(evaluations, evaluated)[:, 1].tolist(), default=0.0),
        "final weights, absolute": max(parity.absolute_error(weights[key], value) for key, value in finals.items()),
        "final scores, absolute": parity.absolute_error(final_scores, end["scores"]),
    }
