"""The splits that a config names, and where their files are."""

import os
from dataclasses import dataclass, replace
from typing import TypeVar

from yacs.config import CfgNode

from mmn.config.catalog_entries import PATH_FIELDS, CatalogEntry, TubeEntry
from mmn.config.paths_catalog import get_entry, load_catalog
from mmn.utils.errors import ConfigError
from mmn.utils.paths import expand_path

Entry = TypeVar("Entry", CatalogEntry, TubeEntry)


@dataclass(frozen=True)
class Split:
    """A split and its entry in the catalog, here with DATASETS.ROOT before its paths, and TEST.THRESHOLDS, if any."""

    name: str
    entry: CatalogEntry | TubeEntry

    def entry_of(self, kind: type[Entry], cfg: CfgNode) -> Entry:
        """The entry, which must be of the kind that MODEL.ARCHITECTURE reads. Raises ConfigError otherwise."""
        if not isinstance(self.entry, kind):
            found, wanted = ("tubes", "moments") if isinstance(self.entry, TubeEntry) else ("moments", "tubes")
            raise ConfigError(
                f"the split {self.name!r} is one of {found}, but MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE!r} reads "
                f"{wanted}: change one of them"
            )
        return self.entry


class Note(str):
    """A fact about a split's files that is no problem, among the sentences about their problems."""


class Splits:
    """The splits of a config, found in the catalog, which is read once, here.

    Raises ConfigError where the catalog cannot be read.
    """

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        self.catalog = load_catalog(cfg.PATHS_CATALOG)

    def find(self, name: str) -> Split:
        """The split of this name. Raises ConfigError where the catalog has none."""
        entry = _placed(name, self.cfg.DATASETS.ROOT, get_entry(name, self.catalog))
        return Split(name, replace(entry, thresholds=self.cfg.TEST.THRESHOLDS or entry.thresholds))

    def named(self, key: str) -> list[Split]:
        """The splits of DATASETS.<key>. Raises ConfigError where it names none."""
        return [self.find(name) for name in split_names(self.cfg, key)]

    def all(self) -> list[Split]:
        """Every split that the config names, once."""
        datasets = self.cfg.DATASETS
        return [self.find(name) for name in dict.fromkeys((*datasets.TRAIN, *datasets.VAL, *datasets.TEST))]


def split_names(cfg: CfgNode, key: str) -> tuple[str, ...]:
    """The split names of DATASETS.<key>; none at all is an error."""
    if not cfg.DATASETS[key]:
        raise ConfigError(f"DATASETS.{key} is empty: name a split of the catalog, e.g. ('charades_train',)")
    return cfg.DATASETS[key]


def _placed(name: str, root: str, entry: CatalogEntry | TubeEntry) -> CatalogEntry | TubeEntry:
    """The entry with its paths in full: `root` before them, the home folder and variables written out."""

    def place(key: str, path: str) -> str:
        return os.path.join(root, expand_path(path, f"{key} of the catalog entry {name}")) if path else ""

    paths = {key: place(key, getattr(entry, key)) for key in PATH_FIELDS if hasattr(entry, key)}
    tracks = tuple(replace(track, path=place("a track", track.path)) for track in entry.tracks)
    return replace(entry, tracks=tracks, **paths)
