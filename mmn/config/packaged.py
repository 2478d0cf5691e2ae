"""The config files that come with the package, by name."""

import os
import re
from pathlib import Path

from mmn.utils.errors import ConfigError, nearest

PACKAGE = Path(__file__).resolve().parents[1]
RELEASED = re.compile(r"(?:pool_)?(?P<short>\w+?)_\d+x\d+_k\d+l\d+")  # architecture, dataset, map and convolutions


def config_folder() -> Path:
    """The folder of the files: inside an installed package, beside the package in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parent / "configs"


def config_names() -> dict[str, str | None]:
    """The names of all configs, in order, each with a shorter one where there is one.

    A released config goes by its architecture and dataset, `conv_tacos`, and one of pooled features by its dataset alone.

    >>> config_names()["pool_charades_16x16_k5l8"]
    'charades'
    """
    stems = sorted(path.stem for path in config_folder().glob("*.yaml"))
    released = {stem: match["short"] for stem in stems if (match := RELEASED.fullmatch(stem))}
    taken = [*stems, *released.values()]
    return {stem: short if (short := released.get(stem)) and taken.count(short) == 1 else None for stem in stems}


def find_config(name: str | os.PathLike) -> str:
    """The path of a config: `name` itself where it is a file or looks like a path, else the packaged file of that name.

    Raises ConfigError, with the names, where there is none.
    """
    name = os.fspath(name)
    if _is_path(name):
        return name
    stems = {short: stem for stem, short in config_names().items() if short}
    return _packaged(stems.get(name, name), "", f"there is no config {name!r}", [*config_names(), *stems])


def find_rows(name: str) -> str:
    """Path of a file of rows of an ablation, e.g. `paper`."""
    return _packaged(name, "rows", f"there are no rows {name!r}") if not _is_path(name) else name


def find_catalog(name: str) -> str:
    """Path of a catalog file, e.g. `charades_holdout`, or `configs/catalogs/charades_holdout.yaml` from anywhere.

    The packaged configs name it by that path, which is there in a checkout alone.
    """
    packaged = config_folder() / "catalogs" / os.path.basename(name)
    if name == f"configs/catalogs/{packaged.name}" and not os.path.exists(name) and packaged.is_file():
        return str(packaged)
    return _packaged(name, "catalogs", f"there is no catalog {name!r}") if not _is_path(name) else name


def _is_path(name: str) -> bool:
    return os.path.isfile(name) or os.sep in name or name.endswith((".yaml", ".yml"))


def _packaged(stem: str, subfolder: str, refusal: str, names: list[str] | None = None) -> str:
    folder = config_folder() / subfolder
    path = folder / f"{stem}.yaml"
    if not path.is_file():
        known = names or sorted(path.stem for path in folder.glob("*.yaml"))
        raise ConfigError(f"{refusal}{nearest(stem, known)}")
    return str(path)
