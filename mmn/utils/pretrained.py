"""Loading Hugging Face configs, tokenizers and encoders, failing fast where they cannot be had.

Without network or cache some of the library's own loaders retry for minutes or hand back an empty vocabulary; here
everything ends in a sentence that says what to do.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmn.utils.errors import ConfigError, failed_read
from mmn.utils.hub import hub_answers, is_offline
from mmn.utils.text_files import parse_json, read_text
from mmn.utils.torchvision import explains_torchvision

# Of a model's folder: json, vocabularies and merges at the top, and the configs of a sentence-transformers folder's parts.
DESCRIPTION_FILE = re.compile(r"(?!.*\.index\.json)(?:\d+_\w+/config\.json|[\w.-]+\.(?:json|txt|model|jinja))")


@explains_torchvision()
def load_pretrained(
    auto_class: Any,
    name: str,
    what: str,
    key: str,
    is_complete: Callable[[object], bool] = lambda loaded: True,
    **kwargs,
):
    """`auto_class.from_pretrained(name)`: a local folder, else the local cache, else the hub if it answers.

    Code that comes with a model is never run: one that needs it cannot be loaded.

    Args:
        what, key: name of what is loaded, such as "text encoder", and the config key or flag that names it, for messages.
        is_complete: whether what the cache gave is whole. A cache that holds a model's config alone yields a tokenizer
            of five tokens, without an error.
    Raises:
        ConfigError: within seconds, where none of them has it.
    """
    kwargs["trust_remote_code"] = False
    if os.path.isdir(name):
        return _load(auto_class, name, f"the folder {name} is not one that {auto_class.__name__} can load", kwargs)
    if os.path.isfile(name):
        raise ConfigError(f"{key} points to the file {name}: name the folder that it lies in")
    if os.sep in name and (name.startswith((".", os.sep, "~")) or name.count(os.sep) > 1):
        raise ConfigError(f"{key} points to the folder {name}, which does not exist: correct the path")
    try:
        cached = auto_class.from_pretrained(name, local_files_only=True, **kwargs)
    except (OSError, ValueError):  # not in the cache
        cached = None
    if cached is not None and is_complete(cached):
        return cached
    if is_offline() or not hub_answers():
        raise ConfigError(_how_to_get(name, what, key))
    return _load(auto_class, name, _how_to_get(name, what, key), kwargs, local_files_only=False)


def read_pretrained_json(name: str, file: str) -> Any | None:
    """A json file of a pretrained model, a hub name or a folder; None where the model has none, or it cannot be had.

    Raises ConfigError where it is damaged.
    """
    from transformers.utils import cached_file

    path: str | None = os.path.join(name, file)
    if not os.path.isdir(name):
        options = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        path = cached_file(name, file, local_files_only=True, **options)
        if path is None and not is_offline() and hub_answers():
            path = cached_file(name, file, **options)
    if path is None or not os.path.isfile(path):
        return None
    try:
        return parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({failed_read(error)}): fetch {name} again") from error


def _load(auto_class: Any, name: str, message: str, kwargs: dict, local_files_only: bool = True):
    try:
        return auto_class.from_pretrained(name, local_files_only=local_files_only, **kwargs)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{message} ({reason})") from error


def _how_to_get(name: str, what: str, key: str) -> str:
    return (
        f"the {what} {name!r} is not on this machine and the Hugging Face hub does not give it: fetch it where "
        f"there is a network (`hf download {name} --local-dir FOLDER`), then set {key} to that folder"
    )


def description_files(name: str, what: str, key: str) -> dict[str, str]:
    """The files of a pretrained model that describe it and its tokenizer, without weights: name in its folder -> path.

    Args:
        name: a local folder, or a hub name whose files are in the cache since it was loaded.
        what, key: as for `load_pretrained`.
    Raises ConfigError where there are none.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(name, "config.json")
        folder = Path(config).parent if isinstance(config, str) else folder
    paths = {path.relative_to(folder).as_posix(): str(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    found = {name: path for name, path in paths.items() if DESCRIPTION_FILE.fullmatch(name)}
    if "config.json" not in found:
        raise ConfigError(_how_to_get(name, what, key))
    return found
