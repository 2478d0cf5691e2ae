"""Model folders: a trained model that opens on any machine, as a folder or a repository of the Hugging Face hub.

    config.json           format, versions, the model's config and what else is known of it, sha256 of the other files
    model.safetensors     the weights
    text_encoder/         config and tokenizer of the text encoder, without weights
    README.md             the model card, with its pictures in images/

Nothing in it is code, and no code in it is run. What a checkpoint says besides the weights (`CONTENT`) is said here in
the same words, so that reading one gives the same content.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from mmn.utils.errors import CheckpointError, failed_read, listed
from mmn.utils.files import atomic_path
from mmn.utils.text_files import parse_json, parse_yaml, read_text
from mmn.utils.version import VERSION

FORMAT = 1  # the newest one; readers of version n read 1 to n
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, TEXT_ENCODER = "config.json", "model.safetensors", "README.md", "text_encoder"
NEEDED = (CONFIG_FILE, WEIGHTS_FILE, f"{TEXT_ENCODER}/*")  # patterns of what opening a model takes
LIBRARY = "mmn"
# Entries of a checkpoint besides the weights: the config (yaml text), what else decides how the model is used, what a test
# of it found (`mmn.evaluation.metrics_file`), and where it comes from.
DESCRIPTION = ("config", "train_durations", "feature_recipe", "calibration", "metrics")
ORIGIN = ("git_revision", "epoch", "best_metric", "text_encoder_name")
CONTENT = (*DESCRIPTION, *ORIGIN)
FILE_NAME = re.compile(rf"{re.escape(WEIGHTS_FILE)}|{TEXT_ENCODER}/(?:\w+/)?[\w-][\w.-]*")


def is_model_folder(path: str) -> bool:
    """Tell whether a folder was meant to be one of ours."""
    return os.path.isfile(os.path.join(path, CONFIG_FILE))


# ---- Reading ---------------------------------------------------------------------------------------------------------


def read_model_folder(folder: str) -> dict[str, Any]:
    """The content of a model folder as that of a checkpoint: weights under "model", the entries of CONTENT that it has.

    "text_encoder" is the folder with the text encoder's config and tokenizer, "architecture" MODEL.ARCHITECTURE.

    Raises CheckpointError where it is no model folder, of a newer format, incomplete, or changed since it was written.
    """
    description = read_description(folder)
    _check_files(folder, description["sha256"])
    try:
        weights = safetensors.torch.load_file(os.path.join(folder, WEIGHTS_FILE))
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the model {folder} has a damaged {WEIGHTS_FILE} ({failed_read(error)}): fetch it again"
        ) from error
    content = {name: description[name] for name in CONTENT if description.get(name) is not None}
    content["config"] = yaml.safe_dump(description["config"])
    place = os.path.abspath(os.path.join(folder, TEXT_ENCODER))
    return {**content, "model": weights, "text_encoder": place, "architecture": description["architecture"]}


def read_description(folder: str) -> dict[str, Any]:
    """The content of a model folder's config.json, its form checked. Raises CheckpointError as `read_model_folder`."""
    path = os.path.join(folder, CONFIG_FILE)
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the model {folder} has a damaged {CONFIG_FILE} ({failed_read(error)}): fetch it again"
        ) from error
    if not isinstance(content, dict) or content.get("library_name") != LIBRARY:
        raise CheckpointError(
            f"{folder} is no model of this package, as its {CONFIG_FILE} shows: name a folder or a model on the hub that "
            "`mmn export` has made"
        )
    if not isinstance(content.get("format"), int) or content["format"] > FORMAT:
        raise CheckpointError(
            f"the model {folder} is of format {content.get('format')}, written by mmn {content.get('mmn_version')}, and "
            f"this version ({VERSION}) reads formats up to {FORMAT}: upgrade the package"
        )
    sums = content.get("sha256")
    is_whole = isinstance(content.get("config"), dict) and isinstance(content.get("architecture"), str)
    if not is_whole or not isinstance(sums, dict) or not all(FILE_NAME.fullmatch(name) for name in sums):
        raise CheckpointError(
            f"the model {folder} has a {CONFIG_FILE} that says too little or too much: fetch it again"
        )
    return content


def _check_files(folder: str, sums: Mapping[str, str]) -> None:
    """Raise CheckpointError unless the files are there and are those that were written."""
    needed = [*sums, *({WEIGHTS_FILE, f"{TEXT_ENCODER}/config.json"} - sums.keys())]
    missing = [name for name in needed if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise CheckpointError(f"the model {folder} lacks {listed(missing)}: fetch it again")
    changed = [name for name in needed if file_sha256(os.path.join(folder, name)) != sums.get(name)]
    if changed:
        raise CheckpointError(
            f"{listed(changed)} of the model {folder} is not the file that was written there (its sha256 differs from "
            f"the one in {CONFIG_FILE}): fetch the model again"
        )


def file_sha256(path: str) -> str:
    """The sha256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


# ---- Writing ---------------------------------------------------------------------------------------------------------


def write_model_folder(
    folder: str, content: Mapping[str, Any], architecture: str, text_files: Mapping[str, str]
) -> None:
    """Write the content of a checkpoint as a model folder, config.json last: one that was interrupted does not open.

    Args:
        content: weights under "model", and entries of CONTENT, the config among them.
        architecture: MODEL.ARCHITECTURE.
        text_files: the files of the text encoder's config and tokenizer, name -> path.
    Raises UserError where the folder cannot be written, or holds somebody else's config.json.
    """
    if is_model_folder(folder):
        read_description(folder)
    sums: dict[str, str] = {}
    for name, path in text_files.items():
        with _written(folder, f"{TEXT_ENCODER}/{name}", sums) as temporary:
            shutil.copyfile(path, temporary)
    with _written(folder, WEIGHTS_FILE, sums) as temporary:
        save_weights(content["model"], temporary)
    description = {
        "library_name": LIBRARY,
        "format": FORMAT,
        "mmn_version": VERSION,
        "architecture": architecture,
        **{name: content.get(name) for name in CONTENT},
        "config": parse_yaml(content["config"]),
        "sha256": sums,
    }
    with atomic_path(os.path.join(folder, CONFIG_FILE)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(description, file, indent=2, ensure_ascii=False)
        file.write("\n")


def save_weights(weights: Mapping[str, Tensor], path: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as a safetensors file, with texts as its metadata. Views of a common tensor are written apart."""
    whole = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    safetensors.torch.save_file(whole, path, metadata={"format": "pt", **(metadata or {})})


@contextmanager
def _written(folder: str, name: str, sums: dict[str, str]) -> Iterator[str]:
    """A temporary path for a file of the folder, whose sha256 goes to `sums` when the block ends well."""
    with atomic_path(os.path.join(folder, name)) as temporary:
        yield temporary
        sums[name] = file_sha256(temporary)
