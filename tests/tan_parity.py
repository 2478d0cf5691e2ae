"""What the code computes on the recorded fixtures of 2D-TAN, and how far off it is; for the tests and the report."""

import functools

import parity
import torch
from torch import Tensor, nn

from golden_fixture import TanFixture
from mmn.modeling.build import build_map_criterion
from mmn.modeling.tan2d import cell_ious, exact_cell_ious


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


def worst_errors(name: str) -> dict[str, float]:
    """The figures of the parity report."""
    golden, (loss, gradients, norm) = fixture(name), train_step(name)
    recorded, scores = golden.recorded("train_step.npz"), golden.recorded("eval.npz")["scores"]
    wanted = golden.recorded_weights("grad.", "train_step.npz")
    return {
        "scores, absolute": parity.absolute_error(score_maps(name)[1], scores),
        "loss and norm, relative": max(
            parity.relative_error(loss, recorded["loss"]), parity.relative_error(norm, recorded["grad_norm"])
        ),
        "gradients, relative to each tensor's largest entry": max(
            parity.relative_error(gradients[key], value) for key, value in wanted.items()
        ),
        "gradients, absolute": max(parity.absolute_error(gradients[key], value) for key, value in wanted.items()),
    }
