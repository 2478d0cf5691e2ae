"""The dataset catalog: one entry per split, data only. A dataset of your own is an entry in a yaml file (see
`load_catalog`), no Python."""

from dataclasses import fields, replace
from pathlib import Path

import yaml

from mmn.config.catalog_entries import TRACK_FORMATS, CatalogEntry, Track, TubeEntry
from mmn.config.distributed import DATASETS, DISTRIBUTED
from mmn.config.packaged import find_catalog
from mmn.structures.annotation_forms import FORMS
from mmn.structures.metric_names import METRICS, RECALL
from mmn.structures.rows_id import QID, VID
from mmn.structures.selection import parse_selection
from mmn.utils.errors import ConfigError, failed_read, nearest
from mmn.utils.text_files import parse_yaml, read_text

MADE = "Data made by this package: MIT, as the code."
HC_STVG = "HC-STVG: see the terms at its source (not read here)."


def _plain(annotation: str, features: str, feature_key: str = "{vid}", **options) -> CatalogEntry:
    """The entry of one HDF5 file."""
    return CatalogEntry(annotation, (Track(path=features, key=feature_key),), **options)


def _tacos(split: str) -> CatalogEntry:
    features, facts = "TACoS/tall_c3d_features.hdf5", DATASETS["tacos"]
    return _plain(
        f"TACoS/{split}.json", features, time_unit="frames", thresholds=facts.thresholds, licence=facts.licence
    )


def _activitynet(split: str) -> CatalogEntry:
    features, licence = "ActivityNet/sub_activitynet_v1-3.c3d.hdf5", DATASETS["activitynet"].licence
    return _plain(f"ActivityNet/{split}.json", features, "{vid}/c3d_features", licence=licence)


def _charades(split: str, features: str) -> CatalogEntry:
    annotation, facts = f"Charades_STA/charades_{split}.json", DATASETS["charades"]
    return _plain(annotation, f"Charades_STA/{features}.hdf5", thresholds=facts.thresholds, licence=facts.licence)


def _activitynet_cd(split: str) -> CatalogEntry:
    return replace(_activitynet(split), annotation=f"ActivityNet_CD/activitynet_{split}.json")


def _charades_cd(split: str) -> CatalogEntry:
    return replace(_charades(split, "vgg_rgb_features"), annotation=f"Charades_CD/charades_{split}.json")


def _made(folder: str, split: str) -> CatalogEntry:
    """The files of a made dataset."""
    return _plain(f"{folder}/{split}.json", f"{folder}/features.hdf5", licence=MADE)


def _tubes(stem: str, tracks: tuple[str, ...], licence: str) -> TubeEntry:
    """The files that tools/convert_stvg.py writes."""
    files = tuple(Track(path=f"{stem}_{track}.hdf5") for track in tracks)
    return TubeEntry(f"{stem}.json", f"{stem}_tubes.hdf5", files, licence=licence)


SPLITS = ("train", "val", "test")
CD_SPLITS = ("train", "val", "test_iid", "test_ood")  # with other moments in the last one than in training
CATALOG: dict[str, CatalogEntry | TubeEntry] = {
    **{f"tacos_{split}": _tacos(split) for split in SPLITS},
    **{f"activitynet_{split}": _activitynet(split) for split in SPLITS},
    **{f"activitynet_{name}": _activitynet(split) for name, split in (("val_1", "val"), ("val_2", "test"))},
    **{f"activitynet_cd_{split}": _activitynet_cd(split) for split in CD_SPLITS},
    **{f"charades_{split}": _charades(split, "vgg_rgb_features") for split in ("train", "test")},
    **{f"charades_cd_{split}": _charades_cd(split) for split in CD_SPLITS},
    **{f"charades_simulated_{split}": _charades(split, "simulated_features") for split in ("train", "test")},
    **{f"synthetic_{split}": _made("synthetic", split) for split in SPLITS},
    **{f"pixels_{split}": _made("pixels", split) for split in SPLITS},
    **{f"stvg_{split}": _tubes(f"HC_STVG/{split}", ("csn", "flow"), HC_STVG) for split in SPLITS},
    **{
        f"synthetic_stvg_{split}": _tubes(f"synthetic_stvg/{split}", ("appearance", "motion"), MADE) for split in SPLITS
    },
    **DISTRIBUTED,
}


def load_catalog(path: str = "") -> dict[str, CatalogEntry | TubeEntry]:
    """The package's entries, with those of the yaml file `path` (PATHS_CATALOG) added to or in place of them.

    Such a file looks like this; only `annotation` and one of `features` and `tracks` are required:

        my_train:
          annotation: mine/train.json
          features: mine/features.hdf5
          feature_key: "{vid}"
          time_unit: seconds
          thresholds: [0.3, 0.5, 0.7]
          format: json
          durations: ""
          metrics: recall
        my_test:
          annotation: mine/test.json
          tracks:
            - {path: mine/clip, format: npz, file: "{vid}.npz", key: features, width: 512}
            - {path: mine/slowfast, format: npy, selection: "[:, 0, :]", width: 2304, name: slowfast}
          clip_seconds: 2
          window_seconds: 60
          vid_suffix: "-cam-002"
          licence: "My videos: CC BY 4.0."

    An entry with `tubes` is a `TubeEntry`. A track that is a path alone is an HDF5 file with `feature_key`. A track with
    `{qid}` in its file or key has rows for each sentence.

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
    known = [field.name for field in fields(kind)] + ([] if kind is TubeEntry else ["features", "feature_key"])
    for key in entry:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")
    for key in ("annotation", "tubes") if kind is TubeEntry else ("annotation",):
        if not isinstance(entry.get(key), str):
            raise ConfigError(f"{where} needs {key!r}, the path of a file relative to DATASETS.ROOT")
    if entry.get("time_unit", "seconds") not in ("seconds", "frames"):
        raise ConfigError(f"{where} has time_unit {entry['time_unit']!r}: it must be seconds or frames")
    if (form := entry.get("format", "")) not in ("", *FORMS):
        raise ConfigError(f"{where} has format {form!r}: it must be one of {', '.join(FORMS)}, or left out")
    if (metrics := entry.get("metrics", RECALL)) not in list(METRICS):
        raise ConfigError(f"{where} has metrics {metrics!r}: it must be one of {', '.join(METRICS)}, or left out")
    if not isinstance(entry.get("durations", ""), str):
        raise ConfigError(f"{where} has durations {entry['durations']!r}: it must be the path of a file")
    key = entry.get("feature_key", VID)
    if not isinstance(key, str) or not _names_rows(key):
        raise ConfigError(f"{where} has feature_key {key!r}: it must be a text and contain {{vid}} or {{qid}}")
    thresholds = entry.get("thresholds", list(kind.thresholds))
    if not isinstance(thresholds, list) or not thresholds or not all(_is_iou(value) for value in thresholds):
        raise ConfigError(f"{where} has thresholds {thresholds!r}: they must be a list of IoU values in (0, 1]")
    for key in ("clip_seconds", "window_seconds"):
        if not _is_number(entry.get(key, 1)):
            raise ConfigError(f"{where} has {key} {entry[key]!r}: it must be a number above 0")
    for key in ("vid_suffix", "licence"):
        if not isinstance(entry.get(key, ""), str):
            raise ConfigError(f"{where} has {key} {entry[key]!r}: it must be a text")
    values = {**entry, "thresholds": tuple(float(value) for value in thresholds)}
    values["tracks"] = _parse_tracks(where, entry)
    values.pop("features", None)
    if kind is CatalogEntry:
        values.pop("feature_key", None)
    elif any(track.is_by_sentence for track in values["tracks"]) or QID in entry.get("feature_key", VID):
        raise ConfigError(
            f"{where} has {{qid}} in a track: a video of tubes has one sentence, so {{vid}} finds its rows"
        )
    return kind(**values)


def _parse_tracks(where: str, entry: dict) -> tuple[Track, ...]:
    """The tracks of an entry, each a path or its fields; or the single one that `features` is short for."""
    key = entry.get("feature_key", "{vid}")
    if "features" in entry or ("tracks" not in entry and "tubes" not in entry):
        if "tracks" in entry or not isinstance(entry.get("features"), str):
            raise ConfigError(
                f"{where} needs 'features', the path of an HDF5 file relative to DATASETS.ROOT, or 'tracks' in its place"
            )
        return (Track(path=entry["features"], key=key),)
    tracks = entry.get("tracks")
    if not isinstance(tracks, list) or not tracks or not all(isinstance(track, (str, dict)) for track in tracks):
        raise ConfigError(f"{where} needs 'tracks', a list of feature tracks, each a path below DATASETS.ROOT or more")
    return tuple(
        Track(path=track, key=key) if isinstance(track, str) else _parse_track(f"{where} (track {number})", track, key)
        for number, track in enumerate(tracks, 1)
    )


def _parse_track(where: str, track: dict, feature_key: str) -> Track:
    known = [field.name for field in fields(Track)]
    for key, value in track.items():
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}{nearest(str(key), known)}")
        if key == "width":
            if type(value) is not int or value < 1:
                raise ConfigError(f"{where} has width {value!r}: it must be a whole number above 0")
        elif not isinstance(value, str) or not value.strip():
            raise ConfigError(
                f"{where} has {key} {value!r}: it must be a text, in quotes where yaml reads more into it"
            )
    if "path" not in track:
        raise ConfigError(f"{where} needs 'path', a file or folder relative to DATASETS.ROOT")
    kind = track.get("format") or _guessed_format(track)
    if kind not in TRACK_FORMATS:
        raise ConfigError(f"{where} has format {kind!r}: it must be one of {', '.join(TRACK_FORMATS)}")
    values = {**track, "format": kind, **_track_defaults(kind, track, feature_key)}
    place = "key" if kind == "hdf5" else "file"
    if not _names_rows(values[place]):
        raise ConfigError(f"{where} has {place} {values[place]!r}: it must contain {{vid}} or {{qid}}")
    try:
        parse_selection(values.get("selection", ""))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Track(**values)


def _names_rows(pattern: str) -> bool:
    return VID in pattern or QID in pattern


def _guessed_format(track: dict) -> str:
    """The format by the end of the file's name, else hdf5."""
    suffix = Path(track.get("file") or track["path"]).suffix.removeprefix(".")
    return suffix if suffix in TRACK_FORMATS else "hdf5"


def _track_defaults(kind: str, track: dict, feature_key: str) -> dict[str, str]:
    """The place of a video's array, where the track does not say it."""
    if kind == "hdf5":
        return {"key": track.get("key", feature_key)}
    file = track.get("file", f"{{vid}}.{kind}")
    return {"file": file, "key": track.get("key", "features" if kind == "npz" else "")}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _is_iou(value: object) -> bool:
    return isinstance(value, (int, float)) and _is_number(value) and value <= 1


def get_entry(name: str, catalog: dict[str, CatalogEntry | TubeEntry]) -> CatalogEntry | TubeEntry:
    """The entry of a split name in DATASETS.TRAIN, VAL or TEST; an unknown name is an error with the nearest one."""
    if name not in catalog:
        raise ConfigError(f"the dataset split {name!r} is not in the catalog{nearest(name, list(catalog))}")
    return catalog[name]
