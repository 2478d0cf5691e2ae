"""Preparation of a picture of any size for a backbone."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class FrameTransform:
    """Resize, crop the centre, order the channels; normalising comes later, on the device.

    Attributes:
        resize: pixels of the shorter side, or (height, width) to stretch to.
        crop: (height, width) of the centre that is kept.
        interpolation: "bilinear" or "bicubic", always with antialiasing.
        mean, std: per channel, on a scale where white is 1.
        channels: "RGB" or "BGR".
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str = "RGB"

    def __call__(self, image: np.ndarray) -> Tensor:
        """[H, W, 3] uint8 RGB -> [3, crop height, crop width] uint8."""
        picture = torch.from_numpy(image).permute(2, 0, 1)[None]
        picture = F.interpolate(picture, self.resized(*image.shape[:2]), mode=self.interpolation, antialias=True)[0]
        top, left = ((size - kept) // 2 for size, kept in zip(picture.shape[1:], self.crop, strict=True))
        picture = picture[:, top : top + self.crop[0], left : left + self.crop[1]]
        return (picture.flip(0) if self.channels == "BGR" else picture).contiguous()

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The size in pixels that a picture is brought to before it is cropped."""
        if not isinstance(self.resize, int):
            return self.resize
        shorter = min(height, width)
        return max(self.resize, height * self.resize // shorter), max(self.resize, width * self.resize // shorter)

    def normalise(self, pictures: Tensor) -> Tensor:
        """[..., 3, h, w] uint8 -> float32, (value / 255 - mean) / std."""
        mean, std = (
            pictures.new_tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std)
        )
        return (pictures.float() / 255 - mean) / std

    def describe(self) -> str:
        """The resizing in words, for a recipe."""
        size = f"shorter side {self.resize}" if isinstance(self.resize, int) else "{}x{}".format(*self.resize)
        return f"{self.interpolation} to {size}, centre crop"
