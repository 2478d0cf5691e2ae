"""Both encoders of a model as ONNX files, for programs that have neither this package nor PyTorch.

    onnx/video_encoder.onnx      rows [B, T0, D] -> contrastive, iou [B, M, C], bounds [M, 2]
    onnx/sentence_encoder.onnx   tokens, token_mask [U, L] int64 -> contrastive, iou [U, C]
    onnx/facts.json              what the score and the tokenizer need besides

B, T0, U and L may be any numbers of at least 1. `bounds` are the start and the end of every moment as shares of the video.
Shapes: see the legend in `mmn.modeling`.
"""

import copy
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mmn.data.features import resample_clips
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling import build_proposal_cells
from mmn.modeling.fast.packed_linear import PackedLinear
from mmn.modeling.mmn import MMN
from mmn.modeling.scoring import IOU_SCORE_SCALE
from mmn.structures.proposals import ProposalCells
from mmn.utils.errors import ConfigError, UserError, failed_read
from mmn.utils.files import atomic_path
from mmn.utils.model_folder import TEXT_ENCODER
from mmn.utils.text_files import parse_json, read_text
from mmn.utils.weight_hash import weights_sha256

FOLDER, VIDEO, SENTENCE, FACTS = "onnx", "video_encoder.onnx", "sentence_encoder.onnx", "facts.json"
LARGEST_ERROR = 1e-5  # of a unit vector's entries, against PyTorch
OPSET = 18
EXTRA = "pip install .[onnx]"


class VideoGraph(nn.Module):
    """Feature rows of videos, as many for all, -> unit vectors of their moments, and the moments' bounds."""

    def __init__(self, model: MMN, cells: ProposalCells, num_clips: int, widths: Sequence[int]):
        super().__init__()
        self.model = model
        self.widths = list(widths)
        self.num_clips = num_clips
        self.register_buffer("shares", torch.arange(num_clips + 1) / num_clips)
        self.register_buffer("bounds", torch.stack([cells.rows, cells.cols + 1], dim=1) / cells.num_clips)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """rows [B, T0, D] -> contrastive, iou [B, M, C], bounds [M, 2]."""
        contrastive, iou = self.model.encode_videos(self.resample(rows))
        return contrastive, iou, self.bounds.clone()

    def resample(self, rows: Tensor) -> Tensor:
        """`mmn.data.features.resample_clips` as a product with a matrix of weights: [B, T0, D] -> [B, P, D]."""
        num_rows = rows.shape[1]
        tracks = [
            track / track.norm(dim=-1, keepdim=True).clamp(min=1e-12) for track in rows.split(self.widths, dim=-1)
        ]
        boundaries = torch.round(self.shares * num_rows).clamp(max=num_rows - 1)[:, None]
        first = boundaries[:-1]
        last = torch.maximum(boundaries[1:], first + 1)
        places = torch.arange(num_rows, device=rows.device, dtype=rows.dtype)[None]
        inside = ((places >= first) & (places < last)).to(rows.dtype)
        return (inside / inside.sum(dim=1, keepdim=True)) @ torch.cat(tracks, dim=-1)


class SentenceGraph(nn.Module):
    """Tokens of sentences -> their unit vectors. `MMN.encode_sentences` in one forward, whatever their lengths."""

    def __init__(self, model: MMN):
        super().__init__()
        self.encoder = model.text_encoder

    def forward(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, token_mask [U, L] int64 -> contrastive, iou [U, C]."""
        encoder = self.encoder
        pooled = encoder.layernorm(encoder.pooled_hidden_state(tokens, token_mask))
        iou = encoder.fc_out1(pooled)
        contrastive = iou if encoder.fc_out2 is None else encoder.fc_out2(pooled)
        return F.normalize(contrastive, dim=-1), F.normalize(iou, dim=-1)


def export_onnx(
    folder: str, cfg: CfgNode, model: MMN, tokenizer: QueryTokenizer, widths: Sequence[int]
) -> dict[str, float]:
    """Write the files into a model folder's onnx/, and compare them with PyTorch -> the largest error of each file.

    Args:
        cfg, model, tokenizer: the model whose folder it is; the network stays as it is.
        widths: those of the feature tracks that its rows are joined of.
    Raises UserError, and leaves onnx/ as it is, where a library is missing, the text encoder is of another kind, the
    network cannot be written in this form, or an error is above LARGEST_ERROR.
    """
    onnxruntime = import_onnx()
    if tokenizer.fills_up or not os.path.isfile(os.path.join(folder, TEXT_ENCODER, "tokenizer.json")):
        raise ConfigError(
            f"{folder} has a text encoder that the ONNX form does not know: it needs a tokenizer.json, and sentences that "
            "are not padded to full length"
        )
    cells = build_proposal_cells(cfg)
    with tempfile.TemporaryDirectory() as unchecked:
        errors = _write_and_compare(onnxruntime, unchecked, cfg, model, cells, widths)
        for name, error in errors.items():
            if not error <= LARGEST_ERROR:
                raise UserError(
                    f"{name} differs from PyTorch by {error:.1e}, more than {LARGEST_ERROR:.0e}, and is not kept: hand the "
                    "model on without --onnx"
                )
        place = os.path.join(folder, FOLDER)
        for name in errors:
            with atomic_path(os.path.join(place, name)) as temporary:
                shutil.copyfile(os.path.join(unchecked, name), temporary)
    with atomic_path(os.path.join(place, FACTS)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(_facts(cfg, model, tokenizer, sum(widths)), file, indent=2)
    return errors


def _write_and_compare(
    onnxruntime: Any, place: str, cfg: CfgNode, model: MMN, cells: ProposalCells, widths: Sequence[int]
) -> dict[str, float]:
    """Write both encoders into a folder -> the largest error of each file."""
    plain = plain_copy(model)
    video, sentence = VideoGraph(plain, cells, cfg.INPUT.NUM_PRE_CLIPS, widths).eval(), SentenceGraph(plain).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    rows, tokens = example_rows(2, 7, sum(widths)), example_tokens(2, 5)
    outputs = ["contrastive", "iou"]
    _export(video, {"rows": rows}, [*outputs, "bounds"], {"rows": {0: batch, 1: length}}, os.path.join(place, VIDEO))
    shapes = {name: {0: batch, 1: length} for name in tokens}
    _export(sentence, tokens, outputs, shapes, os.path.join(place, SENTENCE))
    num_clips = cfg.INPUT.NUM_PRE_CLIPS
    videos = [{"rows": example_rows(*shape, sum(widths))} for shape in ((1, 1), (3, 2 * num_clips + 3))]
    sentences = [example_tokens(*shape) for shape in ((1, 3), (4, 11))]
    model = copy.deepcopy(model).cpu().eval()
    return {
        VIDEO: _error(
            onnxruntime, os.path.join(place, VIDEO), lambda rows: _torch_videos(model, rows, num_clips, widths), videos
        ),
        SENTENCE: _error(onnxruntime, os.path.join(place, SENTENCE), model.encode_sentences, sentences),
    }


def has_other_onnx(folder: str, weights: Mapping[str, Tensor]) -> bool:
    """Tell whether a model folder has ONNX files that say that they are of other weights.

    Raises ConfigError where what they say cannot be read.
    """
    path = os.path.join(folder, FOLDER, FACTS)
    if not os.path.isfile(path):
        return False
    try:
        return bool(parse_json(read_text(path))["weights_sha256"] != weights_sha256(weights))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} does not say which weights the ONNX files are of ({failed_read(error)}): remove that folder"
        ) from error


def remove_other_onnx(folder: str, weights: Mapping[str, Tensor]) -> None:
    """Delete a model folder's ONNX files where they are of other weights; whatever else lies beside them stays."""
    if has_other_onnx(folder, weights):
        for name in (VIDEO, SENTENCE, FACTS):
            Path(folder, FOLDER, name).unlink(missing_ok=True)


def refuse_other_onnx(folder: str, weights: Mapping[str, Tensor]) -> None:
    """Raise ConfigError where a model folder has ONNX files of other weights than those it is going to have."""
    if has_other_onnx(folder, weights):
        raise ConfigError(f"{os.path.join(folder, FOLDER)} is of other weights: remove it, or export with --onnx")


def import_onnx() -> Any:
    """onnxruntime, where it, onnx and onnxscript are installed. Raises UserError otherwise."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX files need {error.name}, which is not installed: {EXTRA}") from error
    return onnxruntime


def plain_copy(model: MMN) -> MMN:
    """A copy of a network on the CPU, in evaluation mode, without the forms that exist only to be fast."""
    plain = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    plain.proposal_conv.impl, plain.proposal_conv.channels_last = "dense", False
    for layer in plain.modules():
        if isinstance(layer, PackedLinear):
            layer.__class__ = nn.Linear
    if hasattr(plain.text_encoder.bert, "set_attn_implementation"):
        plain.text_encoder.bert.set_attn_implementation("eager")
    return plain


def example_rows(batch: int, num_rows: int, input_size: int) -> Tensor:
    """Random feature rows [batch, num_rows, D] float32."""
    return torch.randn(batch, num_rows, input_size, generator=torch.Generator().manual_seed(0))


def example_tokens(num_sentences: int, length: int) -> dict[str, Tensor]:
    """Tokens and their mask, [num_sentences, length] int64: the last sentence is whole, the others are shorter."""
    lengths = torch.arange(num_sentences) % length + 1
    lengths[-1] = length
    mask = (torch.arange(length) < lengths[:, None]).long()
    return {"tokens": (torch.arange(length) % 7 + 1) * mask, "token_mask": mask}


def _facts(cfg: CfgNode, model: MMN, tokenizer: QueryTokenizer, input_size: int) -> dict[str, object]:
    return {
        "weights_sha256": weights_sha256(model.state_dict()),
        "input_size": input_size,
        "max_tokens": int(tokenizer.max_length),
        "pad_id": tokenizer.pad_id,
        "score": cfg.TEST.SCORE,
        "contrastive_power": cfg.TEST.CONTRASTIVE_SCORE_POW,
        "iou_scale": IOU_SCORE_SCALE,
        "nms_threshold": cfg.TEST.NMS_THRESH,
    }


def _export(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], shapes: dict, path: str) -> None:
    """Write one file, weights inside."""
    exporter = logging.getLogger("torch.onnx")  # it warns of every operator of torchvision that it does without
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                kwargs=inputs,
                f=path,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # whatever PyTorch's exporter, onnxscript and onnx raise
            raise UserError(
                f"PyTorch cannot write {os.path.basename(path)} ({_first_line(error)}): hand the model on without --onnx"
            ) from error
        finally:
            exporter.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


@torch.no_grad()
def _torch_videos(model: MMN, rows: Tensor, num_clips: int, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """The package's own vectors for feature rows [B, T0, D], resampled by NumPy: contrastive, iou [B, M, C]."""
    clips = np.stack([resample_clips(video.numpy(), num_clips, widths=widths) for video in rows])
    return model.encode_videos(torch.from_numpy(clips))


@torch.no_grad()
def _error(onnxruntime: Any, path: str, compute: Callable, inputs: list[dict[str, Tensor]]) -> float:
    """The largest difference of a file's first two outputs from those of `compute`."""
    feeds = [{name: value.numpy() for name, value in example.items()} for example in inputs]
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = [session.run(None, feed) for feed in feeds]
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise UserError(
            f"onnxruntime cannot run {os.path.basename(path)} ({_first_line(error)}): hand the model on without --onnx"
        ) from error
    return max(
        float(np.abs(one - other.numpy()).max())
        for outputs, example in zip(found, inputs, strict=True)
        for one, other in zip(outputs, compute(*example.values()), strict=False)
    )
