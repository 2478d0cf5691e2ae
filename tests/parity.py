"""What the code computes on the recorded fixtures, and how far it is from them; for test_parity and parity_report."""

import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import rounding
import torch
from torch import Tensor

from golden_fixture import GoldenFixture
from mmn import reference
from mmn.apps.benchmark.reference_arguments import reference_params, reference_settings, reference_videos
from mmn.engine.trainer import Trainer
from mmn.engine.update import WeightUpdate
from mmn.modeling import build_criterion, build_proposal_cells
from mmn.solver import MATCHING_RECIPE, build_optimizer, build_scheduler
from mmn.utils.checkpoint import load_checkpoint

HISTORY = ("epoch", "CW*vid", "CW*sent", "iou", "total", "grad norm", "lr", "bert lr")
LOSSES = range(1, 6)  # the columns of the losses and the gradient norm


class TwoBatches:
    """The least that a trainer needs of a loader: the fixture's two batches, in order, every epoch."""

    def __init__(self, fixture: GoldenFixture, dtype: torch.dtype):
        self.batches = [fixture.batch(0, dtype), fixture.batch(1, dtype)]
        self.sampler = SimpleNamespace(epoch=0)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def absolute_error(measured: Tensor, recorded: Tensor) -> float:
    return (measured - recorded).abs().max().item()


def relative_error(measured: Tensor, recorded: Tensor) -> float:
    """The largest difference as a share of the recorded tensor's largest entry."""
    largest = recorded.abs().max().item()
    difference = absolute_error(measured, recorded)
    return difference / largest if largest else difference


def assert_gradient_close(measured: Tensor, recorded: Tensor, where: str, share: float = 1e-5) -> None:
    """Within the tolerances of SPEC section 9; share: of the largest entry; where: the parameter's name."""
    limit = share * recorded.abs().max().item() + 1e-6
    if is_zero_on_paper(where):
        # The fixture holds rounding noise of up to 1.4e-6 there; the fast convolutions give the exact zero.
        limit += recorded.abs().max().item()
    assert absolute_error(measured, recorded) <= limit, where


@functools.cache
def fixture(name: str) -> GoldenFixture:
    return GoldenFixture(name)


@functools.cache
@torch.no_grad()
def intermediate_maps(name: str) -> dict[str, Tensor]:
    """Every map of eval.npz by its name there, of batch 0 with the initial weights."""
    golden = fixture(name)
    model, batch = golden.model().eval(), golden.batch(0)
    clips = model.featpool(batch.feats)
    map2d = model.proposal_conv.cells.to_map(model.feat2d(clips))
    prop_contrastive, prop_iou = model.proposal_conv.dense_maps(map2d)
    sent_contrastive, sent_iou = model.text_encoder(batch.tokens, batch.token_mask)
    return {
        "featpool": clips,
        "map2d": map2d,
        "prop_contrastive": prop_contrastive,
        "prop_iou": prop_iou,
        "sent_contrastive": sent_contrastive,
        "sent_iou": sent_iou,
    }


@functools.cache
@torch.no_grad()
def score_maps(name: str, file: str) -> tuple[Tensor, Tensor]:
    """Scores (contrastive, iou) of batch 0 with the weights of `file`, as maps [S, N, N]."""
    golden = fixture(name)
    batch, cells = golden.batch(0), build_proposal_cells(golden.cfg)
    contrastive, iou = golden.model(file).eval()(batch).scores(batch.layout)
    return cells.to_map(contrastive), cells.to_map(iou)


@functools.cache
def train_step(name: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, gradients and BatchNorm buffers of one step on batch 0, by the names of train_step.npz."""
    return step_of(fixture(name), fixture(name).model(dtype=dtype))


def step_of(
    golden: GoldenFixture, model: torch.nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """`train_step` with any weights."""
    batch = golden.batch(0, dtype_of(model))
    losses = build_criterion(golden.cfg)(model(batch), batch)
    weight = golden.cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT
    (losses["iou"] + weight * (losses["vid"] + losses["sent"])).backward()
    return recorded_names(model, losses)


def dtype_of(model: torch.nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


def recorded_names(
    model: torch.nn.Module, losses: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Losses, and the model's gradients and BatchNorm buffers, by the names of train_step.npz."""
    gradients = {f"grad_{key}": parameter.grad for key, parameter in model.named_parameters()}
    buffers = {f"bn_{key}": value for key, value in model.named_buffers() if ".bn." in key}
    return {f"loss_{key}": loss.detach() for key, loss in losses.items()}, gradients, buffers


@functools.cache
@torch.no_grad()
def reference_scores(name: str, file: str) -> tuple[Tensor, Tensor]:
    """`score_maps` by `mmn.reference`."""
    golden = fixture(name)
    maps = reference.score_maps(*embedded_by_reference(golden, golden.model(file), training=False))
    contrastive, iou = zip(*maps, strict=True)
    return torch.cat(contrastive), torch.cat(iou)


@functools.cache
def reference_step(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """`train_step` in float64 by `mmn.reference`."""
    golden = fixture(name)
    model, settings = golden.model(dtype=torch.float64), reference_settings(golden.cfg)
    videos = reference_videos(golden.batch(0, torch.float64))
    losses = reference.losses(*embedded_by_reference(golden, model, training=True), videos, settings)
    (losses["iou"] + settings.contrastive_weight * (losses["vid"] + losses["sent"])).backward()
    return recorded_names(model, losses)


def embedded_by_reference(golden: GoldenFixture, model: torch.nn.Module, training: bool) -> reference.Embedded:
    """Batch 0 in a network with the model's weights."""
    videos, settings = reference_videos(golden.batch(0, dtype_of(model))), reference_settings(golden.cfg)
    return reference.embed(videos, model.text_encoder.bert, reference_params(model), settings, training)


@functools.cache
def trajectory(name: str, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """The fixture's 4 epochs through the trainer: history [8, 8] float64, final weights, and AdamW's second moments."""
    return train(fixture(name), fixture(name).model(dtype=dtype))


def train(golden: GoldenFixture, model: torch.nn.Module) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """`trajectory` of any initial weights."""
    cfg = golden.cfg.clone()
    cfg.SOLVER.LOG_PERIOD, cfg.SOLVER.TEST_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD = 1, 100, 100
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        optimizer = build_optimizer(cfg, model)
        scheduler = build_scheduler(cfg, optimizer)
        criterion = build_criterion(cfg)
        update = WeightUpdate(cfg, MATCHING_RECIPE, model, criterion, optimizer, torch.device("cpu"))
        Trainer(cfg, update, scheduler, TwoBatches(golden, dtype_of(model)), dict).train()
        rows = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    weight = cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT
    columns = ("epoch", "vid", "sent", "iou", "loss", "grad_norm", "lr", "bert_lr")
    history = torch.tensor([[row[column] for column in columns] for row in rows], dtype=torch.float64)
    history[:, 1:3] *= weight
    second_moments = {key: optimizer.state[value]["exp_avg_sq"] for key, value in model.named_parameters()}
    return history, model.state_dict(), second_moments


def recorded_weights(golden: GoldenFixture) -> dict[str, Tensor]:
    """The weights that the recorded run ends with, by our names."""
    return load_checkpoint(str(golden.checkpoint("trained.pth")))["model"]


def optimizer_order(name: str) -> list[str]:
    """Our parameters' names in the order of an optimizer state."""
    model = fixture(name).model()
    names = {id(parameter): key for key, parameter in model.named_parameters()}
    groups = build_optimizer(fixture(name).cfg, model).param_groups
    return [names[id(parameter)] for group in groups for parameter in group["params"]]


def is_comparable_after_training(name: str) -> bool:
    """Whether a tensor's trained values mean anything (the end of SPEC section 9)."""
    return not (is_zero_on_paper(name) or name.endswith("running_mean"))


def is_zero_on_paper(name: str) -> bool:
    """Whether a parameter's gradient is zero but for rounding: batch norm and softmax take a constant shift away."""
    return ("proposal_conv.convs." in name and name.endswith(".bias")) or name.endswith("k_lin.bias")


@functools.cache
def limits(name: str, dtype: torch.dtype) -> rounding.Changes:
    """The differences that a run of the fixture may have from the recorded one."""
    measured = rounding.MEASURED.get(fixture(name).digest())
    if measured is None:
        return rounding.limits(rounding_changes(f"{fixture(name).folder.name}-dense"))
    return rounding.EXACT if dtype == torch.float64 else rounding.limits(measured)


@functools.cache
def rounding_changes(name: str) -> rounding.Changes:
    """The largest changes of a float32 run where its weights begin a few units in the last place away."""
    golden, (history, weights, moments) = fixture(name), trajectory(name, torch.float32)
    initial, (_, gradients, _) = golden.model().state_dict(), train_step(name, torch.float32)
    names = list(filter(is_comparable_after_training, moments))
    runs = []
    for seed in range(rounding.SEEDS):
        model = rounding.move_weights(golden.model(), seed)
        began = {key: value.clone() for key, value in model.state_dict().items()}
        moved_gradients = step_of(golden, rounding.move_weights(golden.model(), seed))[1]
        moved_history, moved_weights, moved_moments = train(golden, model)
        trained = ((moved_weights[key] - began[key], weights[key] - initial[key]) for key in names)
        runs.append(
            rounding.Changes(
                max(relative_error(moved_gradients[f"grad_{key}"], gradients[f"grad_{key}"]) for key in names),
                relative_changes(moved_history, history)[:, LOSSES].amax(dim=1),
                max(rounding.share_of_norm(*pair) for pair in trained),
                max(rounding.share_of_norm(moved_moments[key], moments[key]) for key in names),
            )
        )
    gradients, history, weights, moments = zip(*runs, strict=True)
    return rounding.Changes(max(gradients), tuple(torch.stack(history).amax(0).tolist()), max(weights), max(moments))


def relative_changes(measured: Tensor, wanted: Tensor) -> Tensor:
    """The difference of every entry."""
    return ((measured - wanted) / wanted).abs()


def worst_errors(name: str) -> dict[str, float]:
    """The figures of the parity report of one fixture."""
    golden = fixture(name)
    losses, gradients, _ = train_step(name, torch.float32)
    recorded = golden.recorded("train_step.npz")
    history, weights, _ = trajectory(name, torch.float32)
    end = golden.recorded("trajectory.npz")
    recorded_history = end.pop("history")
    finals = {key.removeprefix("final_"): value for key, value in end.items() if key != "final_bert_norm"}
    finals = {key: value for key, value in finals.items() if is_comparable_after_training(key)}
    score_errors = [
        absolute_error(measured, wanted)
        for file, weights_file in (("eval.npz", "checkpoint.pth"), ("trained_eval.npz", "trained.pth"))
        for measured, wanted in zip(score_maps(name, weights_file), golden.recorded_scores(file), strict=True)
    ]
    real = [key for key in gradients if is_comparable_after_training(key.removeprefix("grad_"))]
    return {
        "scores, absolute": max(score_errors),
        "losses, relative": max(relative_error(losses[key], recorded[key]) for key in losses),
        "gradients, relative to each tensor's largest entry": max(
            relative_error(gradients[key], recorded[key]) for key in real
        ),
        "gradients, absolute": max(absolute_error(gradients[key], recorded[key]) for key in gradients),
        "trajectory, relative": relative_changes(history, recorded_history).max().item(),
        "trained weights, relative to each tensor's largest entry": max(
            relative_error(weights[key], value) for key, value in finals.items()
        ),
    }
