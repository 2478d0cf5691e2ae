"""The dataset catalog: one entry per split, data only. A dataset of your own is an entry in a yaml file (see
`load_catalog`), no Python."""

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from mmn.utils.errors import ConfigError, nearest


@dataclass(frozen=True)
class CatalogEntry:
    """Where one split lives and how it is read. Paths are relative to DATASETS.ROOT.

    Attributes:
        annotation: json file `{video_id: {...}}` (SPEC section 1).
        features: HDF5 file.
        feature_key: HDF5 path of a video's [T0, D] dataset, with `{vid}` for the video id.
        time_unit: "seconds" (the entry has `duration`) or "frames" (it has `fps` and `num_frames`).
        thresholds: the IoU values of the recall table.
    """

    annotation: str
    features: str
    feature_key: str = "{vid}"
    time_unit: str = "seconds"
    thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)


def _tacos(split: str) -> CatalogEntry:
    return CatalogEntry(
        f"TACoS/{split}.json", "TACoS/tall_c3d_features.hdf5", time_unit="frames", thresholds=(0.1, 0.3, 0.5)
    )


def _activitynet(split: str) -> CatalogEntry:
    return CatalogEntry(
        f"ActivityNet/{split}.json", "ActivityNet/sub_activitynet_v1-3.c3d.hdf5", feature_key="{vid}/c3d_features"
    )


def _charades(split: str) -> CatalogEntry:
    return CatalogEntry(
        f"Charades_STA/charades_{split}.json", "Charades_STA/vgg_rgb_features.hdf5", thresholds=(0.5, 0.7)
    )


def _synthetic(split: str) -> CatalogEntry:
    return CatalogEntry(f"synthetic/{split}.json", "synthetic/features.hdf5")


def _pixels(split: str) -> CatalogEntry:
    return CatalogEntry(f"pixels/{split}.json", "pixels/features.hdf5")


def _simulated_charades(split: str) -> CatalogEntry:
    return CatalogEntry(
        f"Charades_STA/charades_{split}.json", "Charades_STA/simulated_features.hdf5", thresholds=(0.5, 0.7)
    )


CATALOG = {
    **{f"tacos_{split}": _tacos(split) for split in ("train", "val", "test")},
    **{f"activitynet_{split}": _activitynet(split) for split in ("train", "val", "test")},
    **{f"charades_{split}": _charades(split) for split in ("train", "test")},
    **{f"charades_simulated_{split}": _simulated_charades(split) for split in ("train", "test")},
    **{f"synthetic_{split}": _synthetic(split) for split in ("train", "val", "test")},
    **{f"pixels_{split}": _pixels(split) for split in ("train", "val", "test")},
}


def load_catalog(path: str = "") -> dict[str, CatalogEntry]:
    """The package's entries, with those of the yaml file `path` (PATHS_CATALOG) added to or in place of them.

    Such a file looks like this; only `annotation` and `features` are required:

        my_train:
          annotation: mine/train.json
          features: mine/features.hdf5
          feature_key: "{vid}"
          time_unit: seconds
          thresholds: [0.3, 0.5, 0.7]

    Raises ConfigError where the file cannot be read or an entry has an unknown key or a wrong value.
    """
    catalog = dict(CATALOG)
    if not path:
        return catalog
    if Path(path).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"PATHS_CATALOG {path} is not a yaml file: write its entries as yaml (see dataset/README.md)")
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"PATHS_CATALOG {path} cannot be read ({error.strerror}): check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"PATHS_CATALOG {path} is not valid yaml: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ConfigError(f"PATHS_CATALOG {path} must hold entries like `my_train: {{annotation: ..., features: ...}}`")
    for name, entry in entries.items():
        catalog[str(name)] = _parse_entry(f"entry {name} of {path}", entry)
    return catalog


def _parse_entry(where: str, entry: dict) -> CatalogEntry:
    known = [field.name for field in fields(CatalogEntry)]
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")
    for key in ("annotation", "features"):
        if not isinstance(entry.get(key), str):
            raise ConfigError(f"{where} needs {key!r}, the path of a file relative to DATASETS.ROOT")
    if entry.get("time_unit", "seconds") not in ("seconds", "frames"):
        raise ConfigError(f"{where} has time_unit {entry['time_unit']!r}: it must be seconds or frames")
    if "{vid}" not in str(entry.get("feature_key", "{vid}")):
        raise ConfigError(f"{where} has feature_key {entry['feature_key']!r}: it must contain {{vid}}")
    thresholds = entry.get("thresholds", list(CatalogEntry.thresholds))
    if not isinstance(thresholds, list) or not thresholds or not all(_is_iou(value) for value in thresholds):
        raise ConfigError(f"{where} has thresholds {thresholds!r}: they must be a list of IoU values in (0, 1]")
    return CatalogEntry(**{**entry, "thresholds": tuple(float(value) for value in thresholds)})


def _is_iou(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1


def get_entry(name: str, catalog: dict[str, CatalogEntry]) -> CatalogEntry:
    """The entry of a split name in DATASETS.TRAIN, VAL or TEST; an unknown name is an error with the nearest one."""
    if name not in catalog:
        raise ConfigError(f"the dataset split {name!r} is not in the catalog{nearest(name, list(catalog))}")
    return catalog[name]
