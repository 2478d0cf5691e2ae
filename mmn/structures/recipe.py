"""Recipe of features: what a feature file says of itself and a checkpoint remembers, for comparing the two."""

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
            raise DataError(
                f"the feature recipe of {where} cannot be understood ({error}): it was written by another version of "
                "this package, so use that one or extract the features again"
            ) from error
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


def _plain(value: object) -> object:
    """An HDF5 attribute as a plain value."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value.decode() if isinstance(value, bytes) else value


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
