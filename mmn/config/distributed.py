"""Entries for the feature layouts that the field's codebases distribute (SPEC section 11); dataset/README.md has a table.

They are named {dataset}_{features}_{split}. {features} lists the tracks in their order; before it stands the distributor
where another one has the same tracks in the same order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mmn.config.catalog_entries import CatalogEntry, Track
from mmn.structures.metric_names import QVHIGHLIGHTS

LONG_THRESHOLDS = (0.1, 0.3, 0.5)  # of MAD and Ego4D, where an IoU counts that is above them (`mmn test-long`)
CLIP, SLOWFAST = 512, 2304  # widths of the rows of CLIP ViT-B/32 and SlowFast R50


@dataclass(frozen=True)
class Dataset:
    """Annotations of a dataset, and the time that a row of the usual features covers.

    Attributes:
        annotations: split -> file below DATASETS.ROOT.
        clip_seconds: time of a row of those CLIP and SlowFast features that are sampled for this dataset.
        thresholds: IoU values of the recall table.
        metrics, window_seconds, licence: see `CatalogEntry`. "Read here" says of a licence that its text came with files
            that this package was written with; for the others the words say where to look, and nothing was verified.
    """

    annotations: Mapping[str, str]
    clip_seconds: float
    thresholds: tuple[float, ...] = CatalogEntry.thresholds
    metrics: str = CatalogEntry.metrics
    window_seconds: float | None = None
    licence: str = ""


DATASETS = {
    "qvhighlights": Dataset(
        {
            "train": "QVHighlights/highlight_train_release.jsonl",
            "val": "QVHighlights/highlight_val_release.jsonl",
            "test": "QVHighlights/highlight_test_with_gt.jsonl",
        },
        clip_seconds=2,
        metrics=QVHIGHLIGHTS,
        licence="QVHighlights: annotations under CC BY-NC-SA 4.0 (read here), of videos of YouTube.",
    ),
    "charades": Dataset(
        {split: f"Charades_STA/charades_{split}.json" for split in ("train", "test")},
        clip_seconds=1,
        thresholds=(0.5, 0.7),
        licence="Charades-STA: annotations of videos of Charades; see the terms of both at their sources (not read here).",
    ),
    "tacos": Dataset(
        {split: f"TACoS/{split}.jsonl" for split in ("train", "val", "test")},
        clip_seconds=2,
        thresholds=(0.1, 0.3, 0.5),
        licence="TACoS: annotations of videos of MPII Cooking; see the terms of both at their sources (not read here).",
    ),
    "activitynet": Dataset(
        {split: f"ActivityNet/{split}.json" for split in ("train", "val", "test")},
        clip_seconds=2,
        licence="ActivityNet Captions: annotations of videos of ActivityNet; see the terms of both at their sources "
        "(not read here).",
    ),
    "ego4d": Dataset(
        {split: f"Ego4D/{split}.jsonl" for split in ("train", "val", "test")},
        clip_seconds=1 / 1.875,
        thresholds=LONG_THRESHOLDS,
        window_seconds=64.0,
        licence="Ego4D: see the terms at its source (not read here).",
    ),
    "mad": Dataset(
        {split: f"MAD/MAD_{split}.json" for split in ("train", "val", "test")},
        clip_seconds=1 / 5,
        thresholds=LONG_THRESHOLDS,
        window_seconds=25.6,
        licence="MAD: features and annotations of films; see the terms of both at their sources (not read here).",
    ),
}


@dataclass(frozen=True)
class Layout:
    """Features as one distributor lays them out.

    Attributes:
        features: name of the features in the entries' names -> their tracks, with {dataset} in the paths.
        datasets: dataset -> its name in those paths.
        suffixes: dataset -> end of its video ids in the feature files.
        has_dataset_rate: whether a row covers the dataset's `clip_seconds`; else its time is not known.
    """

    features: Mapping[str, tuple[Track, ...]]
    datasets: Mapping[str, str]
    suffixes: Mapping[str, str] = field(default_factory=dict)
    has_dataset_rate: bool = True

    def entries(self) -> dict[str, CatalogEntry]:
        """The catalog's entries for all datasets, features and splits of this layout."""
        return {
            f"{dataset}_{features}_{split}": self._entry(dataset, annotation, tracks)
            for dataset in self.datasets
            for features, tracks in self.features.items()
            for split, annotation in DATASETS[dataset].annotations.items()
        }

    def _entry(self, dataset: str, annotation: str, tracks: tuple[Track, ...]) -> CatalogEntry:
        facts = DATASETS[dataset]
        return CatalogEntry(
            annotation,
            tuple(replace(track, path=track.path.replace("{dataset}", self.datasets[dataset])) for track in tracks),
            thresholds=facts.thresholds,
            metrics=facts.metrics,
            clip_seconds=facts.clip_seconds if self.has_dataset_rate else None,
            window_seconds=facts.window_seconds,
            vid_suffix=self.suffixes.get(dataset, ""),
            licence=facts.licence,
        )


def _files(name: str, width: int, path: str, kind: str = "npz", **options) -> Track:
    """A track of one file per video, called by its id."""
    key = "features" if kind == "npz" else ""
    return Track(path=path, format=kind, file=f"{{vid}}.{kind}", key=key, width=width, name=name, **options)


def _named(*datasets: str, **others: str) -> dict[str, str]:
    return {**{dataset: dataset for dataset in datasets}, **others}


_LIGHTHOUSE = (
    _files("clip", CLIP, "lighthouse/features/{dataset}/clip"),
    _files("slowfast", SLOWFAST, "lighthouse/features/{dataset}/slowfast"),
)
_MOMENT_DETR = (
    _files("slowfast", SLOWFAST, "moment_detr/{dataset}/slowfast_features"),
    _files("clip", CLIP, "moment_detr/{dataset}/clip_features"),
)
_UNIVTG = (
    _files("slowfast", SLOWFAST, "univtg/{dataset}/vid_slowfast"),
    _files("clip", CLIP, "univtg/{dataset}/vid_clip"),
)
_UNIVTG_HDF5 = Track(path="univtg/{dataset}/h5py/vid_clip.hdf5", width=CLIP, name="clip")
_R2_TUNING = _files("clip_b32", 768, "r2_tuning/{dataset}/clip_b32_vid_k4", "npy", selection="[:, -1, 0, :]")
_MAD = Track(path="MAD/CLIP_frames_features_5fps.h5", width=CLIP, name="clip")
_DETR_DATASETS = _named("qvhighlights", "charades", "tacos")

LAYOUTS = {
    "lighthouse": Layout(
        {"clip_slowfast": _LIGHTHOUSE, "clip": _LIGHTHOUSE[:1]},
        _named("charades", "tacos", "activitynet", qvhighlights="qvhighlight"),
    ),
    "moment_detr": Layout({"slowfast_clip": _MOMENT_DETR}, _DETR_DATASETS),
    "univtg": Layout({"univtg_slowfast_clip": _UNIVTG}, _DETR_DATASETS),
    "univtg_hdf5": Layout({"univtg_clip": (_UNIVTG_HDF5,)}, _DETR_DATASETS),
    "r2_tuning": Layout({"clip_b32": (_R2_TUNING,)}, _DETR_DATASETS, suffixes={"tacos": "-cam-002"}),
    "internvideo2": Layout(
        {"internvideo2": (_files("internvideo2", 768, "internvideo2/{dataset}", "pt"),)}, _DETR_DATASETS
    ),
    "vslnet": Layout(
        {"i3d": (_files("i3d", 1024, "vslnet/{dataset}", "npy"),)},
        _named("charades", "tacos", "activitynet"),
        has_dataset_rate=False,
    ),
    "ego4d": Layout({"slowfast": (_files("slowfast", SLOWFAST, "Ego4D/slowfast", "pt"),)}, _named("ego4d")),
    "mad": Layout({"clip": (_MAD,)}, _named("mad")),
}

DISTRIBUTED = {name: entry for layout in LAYOUTS.values() for name, entry in layout.entries().items()}
