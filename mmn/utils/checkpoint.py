"""Reading and writing checkpoints (SPEC section 6)."""

import os
import pickle
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmn.utils.errors import CheckpointError
from mmn.utils.files import atomic_path

LAST_FILE = "last_checkpoint"  # names the newest checkpoint of its folder
NUM_NAMES_LISTED = 10


def load_checkpoint(path: str) -> dict:
    """The content of a checkpoint, with the weights under "model" by their plain names.

    Accepts a dict with "model" or a bare state dict; strips the `module.` of distributed runs, and drops the
    `position_ids` that older versions of the text encoder saved. Code in the file is never run.

    Raises CheckpointError where the file is missing, damaged, or more than tensors and plain values.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"the checkpoint {path} does not exist: check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"the checkpoint {path} holds more than tensors and plain values, or is damaged, and is not read: "
            "save its state dict alone, or fetch it again"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {path} is damaged ({_first_line(error)}): fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"the checkpoint {path} holds a {type(content).__name__}, no dict of weights: check it")
    if not isinstance(content.get("model"), Mapping):
        content = {"model": content}
    if not all(isinstance(value, Tensor) for value in content["model"].values()):
        raise CheckpointError(f"the checkpoint {path} has no weights under 'model', nor is it a state dict: check it")
    weights = {name.removeprefix("module."): value for name, value in content["model"].items()}
    content["model"] = {name: value for name, value in weights.items() if not name.endswith(".position_ids")}
    return content


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights strictly: raises CheckpointError naming what is missing, extra or of another shape."""
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
    found = [f"{len(names)} {kind}: {_list_names(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(
            f"the checkpoint {source} does not fit the model ({'; '.join(found)}): use the config it was trained with"
        )
    model.load_state_dict(weights)


def _list_names(names: list[str]) -> str:
    return ", ".join(names[:NUM_NAMES_LISTED]) + (", ..." if len(names) > NUM_NAMES_LISTED else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class CheckpointFolder:
    """The checkpoints of one run: `<feat2d name>_model_<epoch>e.pth`, the best, and which one is the last.

    Args:
        folder: OUTPUT_DIR.
        name: feat2d name, the first part of the file names.
    """

    def __init__(self, folder: str, name: str):
        self.folder = folder
        self.name = name

    def epoch_path(self, epoch: int) -> str:
        return os.path.join(self.folder, f"{self.name}_model_{epoch}e.pth")

    @property
    def best_path(self) -> str:
        return os.path.join(self.folder, f"{self.name}_model_best.pth")

    def save(self, state: dict, epoch: int) -> str:
        """Write the checkpoint of an epoch and make it the last one."""
        path = self.epoch_path(epoch)
        self._write(state, path)
        with atomic_path(os.path.join(self.folder, LAST_FILE)) as temporary, open(temporary, "w") as file:
            file.write(os.path.basename(path))
        return path

    def save_best(self, state: dict) -> None:
        self._write(state, self.best_path)

    def last_path(self) -> str | None:
        """The newest checkpoint, or None where the folder has none."""
        pointer = os.path.join(self.folder, LAST_FILE)
        if os.path.isfile(pointer):
            with open(pointer) as file:
                path = os.path.join(self.folder, file.read().strip())
            if os.path.isfile(path):
                return path
        epochs = [
            int(match[1])
            for name in (os.listdir(self.folder) if os.path.isdir(self.folder) else [])
            if (match := re.fullmatch(rf"{re.escape(self.name)}_model_(\d+)e\.pth", name))
        ]
        return self.epoch_path(max(epochs)) if epochs else None

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
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
