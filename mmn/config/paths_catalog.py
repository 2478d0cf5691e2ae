"""The dataset catalog: one entry per split, data only. A dataset of your own is an entry in a yaml file (see
`load_catalog`), no Python."""

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from mmn.config.packaged import find_catalog
from mmn.structures.annotation_forms import FORMS
from mmn.utils.errors import ConfigError, failed_read, nearest
from mmn.utils.text_files import parse_yaml, read_text

PATH_FIELDS = ("annotation", "features", "durations", "tubes", "tracks")  # of the entries


@dataclass(frozen=True)
class CatalogEntry:
    """Place of one split and the way it is read. Paths are relative to DATASETS.ROOT.

    Attributes:
        annotation: file with the sentences and their moments (SPEC sections 1 and 11).
        features: HDF5 file.
        feature_key: HDF5 path of a video's [T0, D] dataset, with `{vid}` for the video id.
        time_unit: "seconds" (the entry has `duration`) or "frames" (it has `fps` and `num_frames`).
        thresholds: the IoU values of the recall table.
        format: form of the annotation file, a key of `FORMS`; "" finds it out.
        durations: file with the seconds of each video, for annotations that do not say them; "" for none.
    """

    annotation: str
    features: str
    feature_key: str = "{vid}"
    time_unit: str = "seconds"
    thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    format: str = ""
    durations: str = ""


@dataclass(frozen=True)
class TubeEntry:
    """Place of a split of HC-STVG (docs/STVG.md). Paths are relative to DATASETS.ROOT.

    Attributes:
        annotation: json file `{video: {"sentence", and where the truth is known "st_frame", "ed_frame", "bbox"}}`.
        tubes: HDF5 file with the candidate tubes.
        tracks: HDF5 files with the features of their rows, in the order of FEATPOOL.INPUT_SIZE.
        feature_key: HDF5 path of a video's dataset in all of them, with `{vid}` for the video.
        thresholds: the IoU values of the table.
    """

    annotation: str
    tubes: str
    tracks: tuple[str, ...]
    feature_key: str = "{vid}"
    thresholds: tuple[float, ...] = (0.3, 0.5)


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


def _stvg(split: str) -> TubeEntry:
    return _tubes(f"HC_STVG/{split}", ("csn", "flow"))


def _synthetic_stvg(split: str) -> TubeEntry:
    return _tubes(f"synthetic_stvg/{split}", ("appearance", "motion"))


def _tubes(stem: str, tracks: tuple[str, ...]) -> TubeEntry:
    """The files that tools/convert_stvg.py writes."""
    return TubeEntry(f"{stem}.json", f"{stem}_tubes.hdf5", tuple(f"{stem}_{track}.hdf5" for track in tracks))


CATALOG: dict[str, CatalogEntry | TubeEntry] = {
    **{f"tacos_{split}": _tacos(split) for split in ("train", "val", "test")},
    **{f"activitynet_{split}": _activitynet(split) for split in ("train", "val", "test")},
    **{f"charades_{split}": _charades(split) for split in ("train", "test")},
    **{f"charades_simulated_{split}": _simulated_charades(split) for split in ("train", "test")},
    **{f"synthetic_{split}": _synthetic(split) for split in ("train", "val", "test")},
    **{f"stvg_{split}": _stvg(split) for split in ("train", "val", "test")},
    **{f"synthetic_stvg_{split}": _synthetic_stvg(split) for split in ("train", "val", "test")},
    **{f"pixels_{split}": _pixels(split) for split in ("train", "val", "test")},
}


def load_catalog(path: str = "") -> dict[str, CatalogEntry | TubeEntry]:
    """The package's entries, with those of the yaml file `path` (PATHS_CATALOG) added to or in place of them.

    Such a file looks like this; only `annotation` and `features` are required:

        my_train:
          annotation: mine/train.json
          features: mine/features.hdf5
          feature_key: "{vid}"
          time_unit: seconds
          thresholds: [0.3, 0.5, 0.7]
          format: json
          durations: ""

    An entry with `tubes` is a `TubeEntry`, which has `tracks`, a list of files, in place of `features` and `time_unit`.

    Raises ConfigError where the file cannot be read or an entry has an unknown key or a wrong value.
    """
    catalog = dict(CATALOG)
    if not path:
        return catalog
    path = find_catalog(path)
    if Path(path).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"PATHS_CATALOG {path} is not a yaml file: write its entries as yaml (see dataset/README.md)")
    try:
        entries = parse_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"PATHS_CATALOG {path} cannot be read ({failed_read(error)}): check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"PATHS_CATALOG {path} is not valid yaml: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ConfigError(f"PATHS_CATALOG {path} must hold entries like `my_train: {{annotation: ..., features: ...}}`")
    names = [str(name) for name in entries]
    if repeated := [name for name in names if names.count(name) > 1]:  # the text "1" and the number 1
        raise ConfigError(f"PATHS_CATALOG {path} has the entry {repeated[0]} twice: rename one")
    for name, entry in entries.items():
        catalog[str(name)] = _parse_entry(f"entry {name} of {path}", entry)
    return catalog


def _parse_entry(where: str, entry: dict) -> CatalogEntry | TubeEntry:
    kind = TubeEntry if "tubes" in entry else CatalogEntry
    known = [field.name for field in fields(kind)]
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")
    for key in ("annotation", "tubes" if kind is TubeEntry else "features"):
        if not isinstance(entry.get(key), str):
            raise ConfigError(f"{where} needs {key!r}, the path of a file relative to DATASETS.ROOT")
    if entry.get("time_unit", "seconds") not in ("seconds", "frames"):
        raise ConfigError(f"{where} has time_unit {entry['time_unit']!r}: it must be seconds or frames")
    if (form := entry.get("format", "")) not in ("", *FORMS):
        raise ConfigError(f"{where} has format {form!r}: it must be one of {', '.join(FORMS)}, or left out")
    if not isinstance(entry.get("durations", ""), str):
        raise ConfigError(f"{where} has durations {entry['durations']!r}: it must be the path of a file")
    if "{vid}" not in str(entry.get("feature_key", "{vid}")):
        raise ConfigError(f"{where} has feature_key {entry['feature_key']!r}: it must contain {{vid}}")
    thresholds = entry.get("thresholds", list(kind.thresholds))
    if not isinstance(thresholds, list) or not thresholds or not all(_is_iou(value) for value in thresholds):
        raise ConfigError(f"{where} has thresholds {thresholds!r}: they must be a list of IoU values in (0, 1]")
    values = {**entry, "thresholds": tuple(float(value) for value in thresholds)}
    if kind is TubeEntry:
        tracks = entry.get("tracks")
        if not isinstance(tracks, list) or not tracks or not all(isinstance(path, str) for path in tracks):
            raise ConfigError(f"{where} needs 'tracks', a list of feature files relative to DATASETS.ROOT")
        values["tracks"] = tuple(tracks)
    return kind(**values)


def _is_iou(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1


def get_entry(name: str, catalog: dict[str, CatalogEntry | TubeEntry]) -> CatalogEntry | TubeEntry:
    """The entry of a split name in DATASETS.TRAIN, VAL or TEST; an unknown name is an error with the nearest one."""
    if name not in catalog:
        raise ConfigError(f"the dataset split {name!r} is not in the catalog{nearest(name, list(catalog))}")
    return catalog[name]
