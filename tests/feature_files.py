"""Feature files of every format for tests: arrays of videos -> files, and the track that reads them."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from mmn.config.catalog_entries import TRACK_FORMATS as FORMATS
from mmn.config.catalog_entries import Track

__all__ = ["FORMATS", "track_of", "video_file", "write_features"]


def track_of(kind: str, folder: Path | str, **fields) -> Track:
    """The track of all videos that `write_features` writes into `folder`."""
    if kind == "hdf5":
        return Track(path=f"{folder}/features.hdf5", **{"key": "{vid}/rows", **fields})
    key = "" if kind == "npy" else "features"
    return replace(Track(path=str(folder), format=kind, file=f"{{vid}}.{kind}", key=key), **fields)


def video_file(kind: str, folder: Path, video_id: str) -> Path:
    """The file that a video is in."""
    return folder / ("features.hdf5" if kind == "hdf5" else f"{video_id}.{kind}")


def write_features(kind: str, folder: Path, videos: dict[str, np.ndarray]) -> None:
    """Write the array of each video, of any type, objects too."""
    folder.mkdir(parents=True, exist_ok=True)
    for video_id, array in videos.items():
        _write(kind, video_file(kind, folder, video_id), video_id, array)


def _write(kind: str, path: Path, video_id: str, array: np.ndarray) -> None:
    match kind:
        case "hdf5":
            with h5py.File(path, "a") as file:
                dtype = h5py.string_dtype() if array.dtype == object else array.dtype
                file.create_dataset(f"{video_id}/rows", data=array, dtype=dtype)
        case "npz":
            np.savez(path, features=array)
        case "npy":
            np.save(path, array)
        case "pt":
            torch.save({"features": array if array.dtype == object else torch.from_numpy(array)}, path)
