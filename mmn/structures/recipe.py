"""Recipes of features: what feature files say of themselves and a checkpoint remembers, for comparing the two."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmn.utils.attributes import number_attribute
from mmn.utils.errors import DataError
from mmn.utils.text_files import parse_json

PREFIX = "recipe_"  # of the attributes in an HDF5 file
NUMBERS = ("fps", "clip_length", "stride")  # fields of one number; "every frame" stands for no fps


@dataclass(frozen=True)
class FeatureRecipe:
    """Everything that decides the numbers of a feature row, and what else helps to make it again.

    Row r of a video describes its frames r * stride ... (r + 1) * stride - 1, counted at `fps`, by a clip of
    `clip_length` frames centred on them.

    Attributes:
        backbone: its name in BACKBONES.
        layer: whose output a row is.
        weights_sha256: hash of the weights' names and values.
        fps: frames per second that the video is sampled at, evenly; None takes every frame of the file.
        clip_length, stride: in sampled frames.
        image_size: height and width in pixels of what the backbone sees.
        resize: how a picture is brought to that size.
        channels: their order, "RGB" or "BGR".
        mean, std: values subtracted and divided by, per channel, on a scale where white is 1.
        weights: where the weights came from: a name, a file name or "random:SEED". Not compared, their sha256 is.
        versions: versions of the libraries. Not compared.
    """

    backbone: str
    layer: str
    weights_sha256: str
    fps: float | None
    clip_length: int
    stride: int
    image_size: tuple[int, int]
    resize: str
    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str = field(compare=False)
    versions: Mapping[str, str] = field(compare=False, default_factory=dict)

    def __str__(self) -> str:
        rate = "every frame" if self.fps is None else f"{self.fps:g} fps"
        height, width = self.image_size
        return (
            f"{self.backbone} {self.layer} of {self.weights} (sha256 {self.weights_sha256[:12]}), {rate}, clips of "
            f"{self.clip_length} every {self.stride} frames, {height}x{width} {self.channels} by {self.resize}, mean "
            f"{_listed(self.mean)}, std {_listed(self.std)}"
        )

    def sampled_as(self, other: "FeatureRecipe") -> "FeatureRecipe":
        """This recipe with the frame rate, clips and stride of another one."""
        return dataclasses.replace(self, fps=other.fps, clip_length=other.clip_length, stride=other.stride)

    def differences(self, other: "FeatureRecipe") -> str:
        """The names of the compared attributes in which two recipes differ, for a message."""
        names = [entry.name for entry in dataclasses.fields(self) if entry.compare]
        return ", ".join(name for name in names if getattr(self, name) != getattr(other, name))

    def to_dict(self) -> dict:
        """Plain values only, for a checkpoint."""
        return {**dataclasses.asdict(self), "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, values: Mapping, where: str) -> "FeatureRecipe":
        """The recipe that `to_dict` gave. Raises DataError, naming `where`, for anything else."""
        try:
            values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
            recipe = cls(**values)
            str(recipe)
        except (TypeError, ValueError, AttributeError) as error:
            raise _not_understood(where, error) from error
        return recipe

    def to_attributes(self) -> dict[str, object]:
        """Attributes of an HDF5 file."""
        values = self.to_dict()
        values["fps"] = "every frame" if self.fps is None else float(self.fps)
        values["versions"] = json.dumps(values["versions"])
        return {PREFIX + name: value for name, value in values.items()}

    @classmethod
    def from_attributes(cls, attributes: Mapping, where: str) -> "FeatureRecipe | None":
        """The recipe in the attributes of an HDF5 file; None where there is none, as in the released ones."""
        values: dict[str, Any] = {
            name.removeprefix(PREFIX): _plain(value) for name, value in attributes.items() if name.startswith(PREFIX)
        }
        if not values:
            return None
        every_frame = values.get("fps") == "every frame"
        for name in NUMBERS:
            if name in values:
                is_absent = name == "fps" and every_frame
                values[name] = None if is_absent else number_attribute(attributes, PREFIX + name, where)
        try:
            values["versions"] = parse_json(values.get("versions", "{}"))
        except (TypeError, ValueError):
            values["versions"] = None  # refused below
        return cls.from_dict(values, where)


@dataclass(frozen=True)
class TrackRecipe:
    """One of the feature tracks that are joined for a model.

    Attributes:
        name: its name, such as "clip"; None where it has none.
        width: D of this track; None where only the extraction is known.
        extraction: how its rows were made, where they say so.
    """

    name: str | None
    width: int | None
    extraction: FeatureRecipe | None = None

    def __str__(self) -> str:
        name = "" if self.name is None else f"{self.name} ({self.width})"
        made = "" if self.extraction is None else str(self.extraction)
        return " by ".join(part for part in (name, made) if part) or f"a track of {self.width}"

    def differences(self, other: "TrackRecipe") -> list[str]:
        """The names of what both tracks state, each in its own way."""
        pairs = {"track name": (self.name, other.name), "width": (self.width, other.width)}
        found = [name for name, values in pairs.items() if None not in values and values[0] != values[1]]
        if self.extraction is not None and other.extraction is not None and self.extraction != other.extraction:
            found.append(self.extraction.differences(other.extraction))
        return found


@dataclass(frozen=True)
class TracksRecipe:
    """The feature tracks of a model in the order in which they are joined."""

    tracks: tuple[TrackRecipe, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.tracks))

    @property
    def extraction(self) -> FeatureRecipe | None:
        """The recipe of a single track's extraction; None where it is not known, or there are several."""
        return self.tracks[0].extraction if len(self.tracks) == 1 else None

    @property
    def widths(self) -> list[int]:
        """D of each track; [] where one is not known."""
        widths = [track.width for track in self.tracks if track.width is not None]
        return widths if len(widths) == len(self.tracks) else []

    def if_known(self) -> "TracksRecipe | None":
        """This recipe; None for a single track that states nothing but its width."""
        only = self.tracks[0]
        return None if len(self.tracks) == 1 and only.name is None and only.extraction is None else self

    def differences(self, other: "TracksRecipe") -> str:
        """The names of all in which two recipes contradict each other, for a message; "" where they agree."""
        if len(self.tracks) != len(other.tracks):
            return "number of tracks"
        names = [track.name for track in self.tracks], [track.name for track in other.tracks]
        if names[0] != names[1] and None not in names[0] and set(names[0]) == set(names[1]):
            return "order of tracks"
        found = (mine.differences(its) for mine, its in zip(self.tracks, other.tracks, strict=True))
        return ", ".join(dict.fromkeys(name for names in found for name in names))

    def to_dict(self) -> dict:
        """Plain values only, for a checkpoint; one track that has no name is written as its `FeatureRecipe` is."""
        if self.extraction is not None and self.tracks[0].name is None:
            return self.extraction.to_dict()
        return {
            "tracks": [
                {"name": track.name, "width": track.width, "recipe": track.extraction and track.extraction.to_dict()}
                for track in self.tracks
            ]
        }

    @classmethod
    def from_dict(cls, values: Mapping, where: str) -> "TracksRecipe":
        """The recipe that `to_dict` gave. Raises DataError, naming `where`, for anything else."""
        if not isinstance(values, Mapping) or "tracks" not in values:
            return cls((TrackRecipe(None, None, FeatureRecipe.from_dict(values, where)),))
        try:
            tracks = [(track["name"], track["width"], track["recipe"]) for track in values["tracks"]]
            if not tracks:
                raise ValueError("it has no track")
        except (TypeError, KeyError, ValueError) as error:
            raise _not_understood(where, error) from error
        made = (None if recipe is None else FeatureRecipe.from_dict(recipe, where) for _, _, recipe in tracks)
        return cls(tuple(TrackRecipe(*track[:2], recipe) for track, recipe in zip(tracks, made, strict=True)))


def _not_understood(where: str, error: Exception) -> DataError:
    return DataError(
        f"the feature recipe of {where} cannot be understood ({error}): it was written by another version of this "
        "package, so use that one or extract the features again"
    )


def _plain(value: object) -> object:
    """An HDF5 attribute as a plain value."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value.decode() if isinstance(value, bytes) else value


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
