"""Reading and writing checkpoints (SPEC section 6)."""

import argparse
import json
import os
import pickle
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mmn.utils.errors import CheckpointError, failed_read, listed
from mmn.utils.files import atomic_path
from mmn.utils.hub import Snapshot, download_model, is_hub_name
from mmn.utils.logger import get_logger
from mmn.utils.model_folder import CONTENT, NEEDED, ORIGIN, is_model_folder, read_model_folder, save_weights
from mmn.utils.text_files import parse_json

LAST_FILE = "last_checkpoint"  # names the newest checkpoint of its folder; empty for a run that has none yet
SAFETENSORS = ".safetensors"
WEIGHT_ENTRIES = ("model", "state_dict", "model_state_dict")  # where programs put the weights
WRAPPERS = ("module.", "_orig_mod.")  # before the names of weights, from distributed and from compiled networks
# Entries of CONTENT that are texts already in the metadata of a safetensors file; the others are json there.
TEXTS = ("config", *ORIGIN)


def find_checkpoint(
    name: str, revision: str | None = None, cache_dir: str | os.PathLike | None = None, **hub_options
) -> Snapshot:
    """The one place where the name of a model becomes a file or a model folder on this machine.

    Args:
        name: a checkpoint file, a model folder (`mmn.utils.model_folder`), or `user/model`, with `@revision` or without,
            on the Hugging Face hub, whose files are fetched unless the cache has them.
        revision, cache_dir, hub_options: see `mmn.utils.hub.download_model`; only for a name on the hub.
    Returns:
        where it lies, and the name by which it is found again; of a model on the hub that has the commit in it.
    Raises CheckpointError where there is no such thing.
    """
    if is_hub_name(name):
        return download_model(name, NEEDED, revision, cache_dir, **hub_options)
    if revision is not None:
        raise CheckpointError(f"{name} lies on this machine and has no revision {revision}: leave revision= out")
    if os.path.isdir(name) and not is_model_folder(name):
        raise CheckpointError(f"the checkpoint {name} is a folder: name a file in it, such as pool_model_best.pth")
    if not os.path.exists(name):
        raise CheckpointError(f"the checkpoint {name} does not exist: check the path")
    return Snapshot(name, name)


def load_checkpoint(path: str) -> dict:
    """The content of a checkpoint, with the weights under "model" by their plain names.

    Accepts whatever `find_checkpoint` finds: a dict with one of WEIGHT_ENTRIES, a bare state dict, a safetensors file,
    whose metadata may hold entries of CONTENT, or a model folder (`mmn.utils.model_folder.read_model_folder`). Strips
    WRAPPERS from names, and drops the `position_ids` that older versions of the text encoder saved. Code in a file is
    never run.

    Raises CheckpointError where it is missing, damaged, or more than tensors and plain values.
    """
    path = find_checkpoint(path).path
    if os.path.isdir(path):
        return read_model_folder(path)
    try:
        if path.endswith(SAFETENSORS):
            content = _load_safetensors(path)
        else:
            with torch.serialization.safe_globals(_harmless_objects()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or no safetensors file ({_first_line(error)}): fetch it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"the checkpoint {path} holds more than tensors and plain values{_foreign_objects(path)}, or is damaged, and "
            "is not read: save its state dict alone, or fetch it again"
        ) from error
    except PermissionError as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({failed_read(error)}): make it readable"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged ({_first_line(error)}): fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"the checkpoint {path} holds a {type(content).__name__}, no dict of weights: check it")
    entry = next((name for name in WEIGHT_ENTRIES if isinstance(content.get(name), Mapping)), None)
    content = {"model": content} if entry is None else {**content, "model": content[entry]}
    if not all(isinstance(value, Tensor) for value in content["model"].values()):
        raise CheckpointError(f"the checkpoint {path} has no weights under 'model', nor is it a state dict: check it")
    weights = {_plain_name(name): value for name, value in content["model"].items()}
    content["model"] = {name: value for name, value in weights.items() if not name.endswith(".position_ids")}
    return content


def _harmless_objects() -> list:
    """Kinds of plain values that programs leave beside weights, besides those that PyTorch reads anyway."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]  # before NumPy 2, and since
    dtypes = [type(np.dtype(code)) for code in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    return [*((scalar, name) for name in names), np.dtype, *dtypes, argparse.Namespace]


def _foreign_objects(path: str) -> str:
    """Names of what keeps a file from being read, for an error sentence; "" where they cannot be told."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError):  # an old format, or damaged
        return ""
    harmless = {"argparse.Namespace", "numpy.dtype"}
    names = [name for name in names if name not in harmless and not name.startswith("numpy.")]
    return f" ({listed(names)})" if names else ""


def _plain_name(name: str) -> str:
    """The name of a weight without what wrappers of the network put before it."""
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def _load_safetensors(path: str) -> dict:
    """The weights under "model", and those entries of CONTENT that the metadata has."""
    content: dict = {"model": safetensors.torch.load_file(path)}
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    for name in CONTENT:
        if name in metadata:
            content[name] = metadata[name] if name in TEXTS else parse_json(metadata[name])
    return content


def load_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    partial: bool = False,
    remedy: str = "use the config it was trained with, or --partial to load what fits",
) -> None:
    """Load weights strictly: raises CheckpointError naming what is missing, extra or of another shape.

    With `partial` these are named in the log and left out; weights of which nothing fits are an error still.

    Args:
        remedy: advice to the caller's user, the end of the error sentence.
    """
    expected = model.state_dict()
    problems = {
        "missing": [name for name in expected if name not in weights],
        "unknown to the model": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {list(value.shape)} instead of {list(expected[name].shape)}"
            for name, value in weights.items()
            if name in expected and value.shape != expected[name].shape
        ],
    }
    nonfinite = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if nonfinite:
        raise CheckpointError(
            f"the checkpoint {source} has {len(nonfinite)} weights that are not finite ({listed(nonfinite)}): take an "
            "earlier one, before the training went wrong"
        )
    found = [f"{len(names)} {kind}: {listed(names)}" for kind, names in problems.items() if names]
    fitting = {
        name: value for name, value in weights.items() if name in expected and value.shape == expected[name].shape
    }
    if found and not (partial and fitting):
        raise CheckpointError(
            f"the checkpoint {source} does not fit the model ({'; '.join(found)}): "
            + ("use the config it was trained with" if partial else remedy)
        )
    if found:
        get_logger().warning(
            "loaded %d of %d weights from %s (%s)", len(fitting), len(expected), source, "; ".join(found)
        )
    model.load_state_dict({**expected, **fitting})


def export_weights(path: str, out: str) -> None:
    """Write the weights of a checkpoint as a safetensors file, with its entries of CONTENT as metadata.

    Raises CheckpointError where the checkpoint cannot be read, and UserError where `out` cannot be written.
    """
    if not out.endswith(SAFETENSORS):
        raise CheckpointError(f"{out} must end in {SAFETENSORS}, by which loading knows the format: rename it")
    content = load_checkpoint(path)
    metadata = {name: content[name] for name in CONTENT if content.get(name) is not None}
    texts = {name: str(value) if name in TEXTS else json.dumps(value) for name, value in metadata.items()}
    with atomic_path(out) as temporary:
        save_weights(content["model"], temporary, texts)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class CheckpointFolder:
    """The checkpoints of one run: `<feat2d name>_model_<epoch>e.pth`, the best, and which one is the last.

    A checkpoint from inside an epoch is `<feat2d name>_model_last.pth`, which the next one replaces; of the n-th evaluation
    by steps (SOLVER.TEST_ITERS), `<feat2d name>_model_eval<n>.pth`.

    Args:
        folder: OUTPUT_DIR.
        name: feat2d name, the first part of the file names.
        num_kept: how many checkpoints of epochs stay, and how many of evaluations, the newest ones; 0 keeps all.
    """

    def __init__(self, folder: str, name: str, num_kept: int = 0):
        self.folder = folder
        self.name = name
        self.num_kept = num_kept

    def epoch_path(self, epoch: int) -> str:
        return os.path.join(self.folder, f"{self.name}_model_{epoch}e.pth")

    def evaluation_path(self, number: int) -> str:
        return os.path.join(self.folder, f"{self.name}_model_eval{number}.pth")

    @property
    def best_path(self) -> str:
        return os.path.join(self.folder, f"{self.name}_model_best.pth")

    def save(self, state: dict, epoch: int) -> str:
        """Write the checkpoint of an epoch and make it the last one."""
        return self._save_numbered(state, epoch, self.epoch_path, self._epochs())

    def save_evaluation(self, state: dict, number: int) -> str:
        """Write the checkpoint of the evaluation of this number, from 1, and make it the last one."""
        return self._save_numbered(state, number, self.evaluation_path, self._numbers(r"eval(\d+)"))

    def _save_numbered(self, state: dict, newest: int, path_of: Callable[[int], str], known: Sequence[int]) -> str:
        """Write a checkpoint, and delete those of its kind before it, so that `num_kept` are left. Later ones stay."""
        path = path_of(newest)
        self._write(state, path)
        self.set_last(path)
        older = sorted(number for number in known if number < newest)
        num_removed = max(0, len(older) + 1 - self.num_kept) if self.num_kept else 0
        for number in older[:num_removed]:
            os.unlink(path_of(number))
        return path

    def save_last(self, state: dict) -> str:
        """Write a checkpoint that no epoch's file name stands for, and make it the last one."""
        path = os.path.join(self.folder, f"{self.name}_model_last.pth")
        self._write(state, path)
        self.set_last(path)
        return path

    def set_last(self, path: str | None) -> None:
        """Make a checkpoint of this folder the one that resuming takes; None for a run that has none yet."""
        with atomic_path(os.path.join(self.folder, LAST_FILE)) as temporary, open(temporary, "w") as file:
            file.write(os.path.basename(path or ""))

    def start_afresh(self) -> None:
        """Begin a new run in the folder: checkpoints of an earlier one stay, but are no longer its last and its best."""
        if self.last_path() is not None:
            get_logger().warning(
                "a new run begins in %s, although it has checkpoints; SOLVER.RESUME True would continue them",
                self.folder,
            )
        self.set_last(None)
        if os.path.isfile(self.best_path):
            os.replace(self.best_path, os.path.join(self.folder, f"{self.name}_model_best_previous.pth"))

    def save_best(self, state: dict) -> None:
        self._write(state, self.best_path)

    def last_path(self) -> str | None:
        """The newest checkpoint, or None where the folder has none."""
        pointer = os.path.join(self.folder, LAST_FILE)
        if os.path.isfile(pointer):
            name = self._last_name()
            if not name:
                return None
            # Of this 2D map's only: the folder may have been used with another.
            if name.startswith(f"{self.name}_model_") and os.path.isfile(os.path.join(self.folder, name)):
                return os.path.join(self.folder, name)
        epochs = self._epochs()
        return self.epoch_path(max(epochs)) if epochs else None

    def has_any(self) -> bool:
        """Tell whether a run has left a checkpoint here, of this 2D map or another."""
        if os.path.isfile(os.path.join(self.folder, LAST_FILE)) and not self._last_name():
            return os.path.isfile(self.best_path)
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        return any(re.fullmatch(r"\w+_model_(\d+e|eval\d+|last|best)\.pth", name) for name in names)

    def _last_name(self) -> str:
        """The file name in LAST_FILE, which exists; "" for a run that has no checkpoint yet."""
        with open(os.path.join(self.folder, LAST_FILE)) as file:
            return file.read().strip()

    def _epochs(self) -> list[int]:
        """Epochs that have a checkpoint, in no order."""
        return self._numbers(r"(\d+)e")

    def _numbers(self, kind: str) -> list[int]:
        """Numbers in the names of this 2D map's checkpoints of a kind, in no order."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        matches = (re.fullmatch(rf"{re.escape(self.name)}_model_{kind}\.pth", name) for name in names)
        return [int(match[1]) for match in matches if match]

    def find(self) -> str:
        """The best checkpoint, else the last. Raises CheckpointError where there is neither."""
        path = self.best_path if os.path.isfile(self.best_path) else self.last_path()
        if path is None:
            raise CheckpointError(
                f"there is no {self.name}_model_*.pth in OUTPUT_DIR {self.folder}: train first, or give --ckpt"
            )
        return path

    @staticmethod
    def _write(state: dict, path: str) -> None:
        # A file object, since torch.save writes the name of a path into the file.
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's form of the system's error, such as a full disk
                raise OSError(_first_line(error)) from error
