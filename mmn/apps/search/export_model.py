"""The work of tools/export_weights.py: a checkpoint written as a model folder with its card, as a file, or onto the hub."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace

from mmn.apps.localize.identity import model_identity
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.trained_model import TrainedModel, read_checkpoint
from mmn.apps.publish.onnx_export import FOLDER, export_onnx, refuse_other_onnx, remove_other_onnx
from mmn.apps.publish.save import UPLOADED, Evidence, save_model
from mmn.apps.search.confidence import not_calibrated
from mmn.apps.search.moment_index import check_model
from mmn.apps.search.vector_store import open_store
from mmn.utils.checkpoint import SAFETENSORS, export_weights
from mmn.utils.errors import ConfigError
from mmn.utils.hub import upload_model


def export_model(
    ckpt: str,
    out: str | None,
    config_file: str | None = None,
    options: Sequence[str] = (),
    evidence: Evidence | None = None,
    index: str | None = None,
    repo: str | None = None,
    onnx: bool = False,
) -> None:
    """Write a checkpoint as `out` and onto the hub as `repo`, as far as they are given, and say what was written.

    Args:
        ckpt, config_file, options: see `MomentLocalizer.from_checkpoint`.
        out: a folder; a name that ends in .safetensors is a file of the weights with what the checkpoint says of them.
        evidence: files that the card shows.
        index: an index that the model has built and that is calibrated: the model takes its calibration along.
        onnx: also write both encoders as ONNX files (`mmn.apps.publish.onnx_export`).
    Raises UserError where the checkpoint cannot be read, is of other metrics or another index, or cannot be written.
    """
    if out is not None and out.endswith(SAFETENSORS):
        if evidence not in (None, Evidence()) or index or repo or onnx or config_file or options:
            raise ConfigError(f"{out} is a file of weights alone: give --out FOLDER for a model with its card")
        export_weights(ckpt, out)
        print(f"wrote {out}")
        return
    trained = read_checkpoint(ckpt, config_file, options)
    if index is not None:
        trained = replace(trained, calibration=_calibration(index, trained))
    with tempfile.TemporaryDirectory() as folder:
        place = out or os.path.join(folder, "model")
        _write(place, trained, evidence, repo, onnx)
        if out is not None:
            print(f"wrote {out}")
        if repo is not None:
            print(f"wrote {upload_model(place, repo, UPLOADED, 'A model of mmn')}")


def _write(folder: str, trained: TrainedModel, evidence: Evidence | None, repo: str | None, onnx: bool) -> None:
    """Write the model folder, with its ONNX files where they are asked for."""
    content = trained.content()
    if not onnx:
        refuse_other_onnx(folder, content["model"])
    save_model(folder, trained.cfg, content, evidence, repo)
    if onnx:
        remove_other_onnx(
            folder, content["model"]
        )  # the folder's weights are new: files of others must not stay by them
        errors = export_onnx(folder, trained.cfg, trained.model, trained.tokenizer, trained.widths)
        for name, error in errors.items():
            size = os.path.getsize(os.path.join(folder, FOLDER, name)) / 1e6
            print(f"{name}: {size:.1f} MB, differs from PyTorch by at most {error:.1e}")


def _calibration(place: str, trained: TrainedModel) -> dict[str, object]:
    """The calibration of an index. Raises ConfigError where it is not the model's, or not calibrated."""
    localizer = MomentLocalizer.from_trained(trained, "cpu")
    with open_store(place) as store:
        check_model(store, localizer, model_identity(localizer.encoder))
        if store.info.calibration is None:
            raise not_calibrated(place)
        return dict(store.info.calibration)
