"""Videos -> feature rows, in constant memory."""

import importlib.metadata
import itertools
import os
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones import BACKBONES, Backbone
from mmn.apps.video.decode import Frame, import_av, iter_frames
from mmn.apps.video.torchcodec import decoder_version
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.ahead import ahead
from mmn.utils.errors import ConfigError, DataError, UserError, nearest
from mmn.utils.version import VERSION
from mmn.utils.weight_hash import weights_sha256

NUM_PREFETCHED = 2  # batches that are decoded ahead of a GPU


class FeatureExtractor:
    """A backbone with its sampling. `recipe` says which features it makes.

    Args:
        backbone: a name in BACKBONES.
        weights: a name that the backbone knows, the path of a file or folder, or "random:SEED"; by default the
            backbone's usual ones.
        fps: frames per second to sample evenly, 0 for every frame of the file; None takes the backbone's usual value, as
            for the two next ones.
        clip_length, stride: sampled frames, see `FeatureRecipe`. The frames of a clip are averaged by backbones that
            see single frames.
        layer: name of the layer whose output the rows are.
        device: place of the backbone.
        batch_size: frames or clips per forward pass.
        allow_truncated: whether a video that ends before the time its header states gives the rows that it has.
    Raises:
        ConfigError, CheckpointError: where these do not fit, or the weights cannot be had.
    """

    def __init__(
        self,
        backbone: str,
        weights: str | None = None,
        fps: float | None = None,
        clip_length: int | None = None,
        stride: int | None = None,
        layer: str | None = None,
        device: torch.device | str = "cpu",
        batch_size: int | None = None,
        allow_truncated: bool = False,
    ):
        import_av()  # fails before the weights are fetched
        kind = BACKBONES[backbone]
        self.device = torch.device(device)
        self.batch_size = kind.usual.batch_size if batch_size is None else batch_size
        self.allow_truncated = allow_truncated
        fps = kind.usual.fps if fps is None else fps
        clip_length = kind.usual.clip_length if clip_length is None else clip_length
        stride = kind.usual.stride if stride is None else stride
        layer = kind.usual.layers[0] if layer is None else layer
        _check(kind, backbone, fps, clip_length, stride, layer, self.batch_size)
        source = Weights.parse(weights or _usual_weights(kind, backbone))
        model = kind(source, layer).eval().requires_grad_(False)
        self.recipe = FeatureRecipe(
            backbone=backbone,
            layer=layer,
            weights_sha256=weights_sha256(model.state_dict()),
            fps=fps or None,
            clip_length=clip_length,
            stride=stride,
            image_size=model.transform.crop,
            resize=model.transform.describe(),
            channels=model.transform.channels,
            mean=model.transform.mean,
            std=model.transform.std,
            weights=source.label,
            versions=library_versions(kind),
        )
        self.backbone = model.to(self.device)

    @classmethod
    def from_recipe(cls, recipe: FeatureRecipe, weights: str | None = None, **options) -> "FeatureExtractor":
        """The extractor that makes features of this recipe.

        Args:
            weights: needed where the recipe's are a file, whose path it does not keep.
            options: device, batch_size, allow_truncated.
        Raises:
            ConfigError: where what this package would make is not of the recipe, naming both.
        """
        extractor = cls(
            recipe.backbone,
            weights or recipe.weights,
            recipe.fps or 0,
            recipe.clip_length,
            recipe.stride,
            recipe.layer,
            **options,
        )
        if extractor.recipe != recipe:
            raise ConfigError(
                f"the features that are wanted are {recipe}, but these would be {extractor.recipe}, which differs in "
                f"{recipe.differences(extractor.recipe)}: give the weights that they were made with"
            )
        return extractor

    def extract(self, path: str | os.PathLike) -> np.ndarray:
        """The feature rows [T0, D] float32 of one video. Raises DataError where it cannot be decoded or is truncated."""
        return np.concatenate(list(self.stream(path)))

    def stream(self, path: str | os.PathLike) -> Iterator[np.ndarray]:
        """The feature rows of one video in parts [b, D], each as soon as it is known. Errors as in `extract`."""
        return self.encode(self.frames(path), os.fspath(path))

    def frames(self, path: str | os.PathLike, start: float = 0.0) -> Iterator[Frame]:
        """The frames of a video that its features are made of, from `start` seconds on."""
        return iter_frames(path, self.recipe.fps, start, allow_truncated=self.allow_truncated)

    def encode(self, frames: Iterable[Frame], where: str = "the video") -> Iterator[np.ndarray]:
        """Frames that were sampled at the recipe's fps -> feature rows in parts [b, D] float32."""
        pictures = (self.backbone.transform(frame.image) for frame in frames)
        length, stride = self.recipe.clip_length, self.recipe.stride
        if self.backbone.takes_clips:
            clips = (torch.stack(clip, dim=1) for clip in windows(pictures, length, stride))
            rows = self._forward(clips)
        elif length == stride == 1:
            rows = self._forward(pictures)
        else:
            single = itertools.chain.from_iterable(self._forward(pictures))
            rows = batches((torch.stack(clip).mean(dim=0) for clip in windows(single, length, stride)), self.batch_size)
        part = None
        for part in rows:
            values = part.numpy()
            if not np.isfinite(values).all():
                raise DataError(f"{where} gives features that are not finite numbers: check the weights and the video")
            yield values
        if part is None:
            raise DataError(
                f"{where} gives no frame at the times that are sampled: leave it out, or sample it more often"
            )

    def _forward(self, inputs: Iterable[Tensor]) -> Iterator[Tensor]:
        """Prepared frames or clips, one by one -> [b, D] on the host."""
        stacks = batches(inputs, self.batch_size)
        if self.device.type != "cpu":  # decode while the device computes
            stacks = ahead(stacks, NUM_PREFETCHED)
        for batch in stacks:
            yield self._rows(batch)

    @torch.inference_mode()
    def _rows(self, batch: Tensor) -> Tensor:
        """A batch of uint8 frames or clips -> [b, D] on the host."""
        batch = batch.to(self.device, non_blocking=True)
        if self.backbone.takes_clips:  # [B, 3, L, h, w]; normalising wants the channels third to last
            batch = self.backbone.transform.normalise(batch.transpose(1, 2)).transpose(1, 2)
        else:
            batch = self.backbone.transform.normalise(batch)
        try:
            return self.backbone(batch).float().cpu()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the GPU ran out of memory with batches of {self.batch_size}: lower --batch-size of "
                "`mmn extract`, or the extractor's batch_size in Python"
            ) from error


def _usual_weights(kind: type[Backbone], backbone: str) -> str:
    if not kind.default_weights:
        raise ConfigError(f"the backbone {backbone} comes without weights: give --weights FILE, or random:SEED")
    return kind.default_weights


def _check(
    kind: type[Backbone], name: str, fps: float, clip_length: int, stride: int, layer: str, batch_size: int
) -> None:
    if layer not in kind.usual.layers:
        raise ConfigError(f"the backbone {name} has no layer {layer!r}{nearest(layer, list(kind.usual.layers))}")
    if not 0 <= fps < float("inf"):
        raise ConfigError(f"a video cannot be sampled at {fps} fps: give a number above 0, or 0 for every frame")
    for what, value in {"clip length": clip_length, "stride": stride, "batch size": batch_size}.items():
        if value < 1:
            raise ConfigError(f"the {what} cannot be {value}: give a whole number above 0")
    if kind.fixed_clip_length not in (None, clip_length):
        raise ConfigError(
            f"the backbone {name} takes clips of {kind.fixed_clip_length} frames, not {clip_length}: leave the clip "
            "length as it is"
        )


def batches(items: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Stacks of `size` consecutive tensors; the last may be smaller."""
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield torch.stack(group)


def windows(items: Iterable[Tensor], length: int, stride: int) -> Iterator[list[Tensor]]:
    """Per `stride` items a list of `length` items centred on them; beyond both ends the outermost item is repeated.

    The last stride may be incomplete. No more than `length` + `stride` items are held.

    >>> list(windows("abcde", 4, 2))
    [['a', 'a', 'b', 'c'], ['b', 'c', 'd', 'e'], ['d', 'e', 'e', 'e']]
    """
    before = (length - stride) // 2
    held: list = []  # the items number first, first + 1, ..., count - 1
    first = count = row = 0

    def window() -> list:
        start = row * stride - before
        return [held[min(max(number, 0), count - 1) - first] for number in range(start, start + length)]

    for item in items:
        held.append(item)
        count += 1
        while row * stride - before + length <= count:
            yield window()
            row += 1
        num_done = min(max(row * stride - before, 0), count - 1) - first
        del held[:num_done]
        first += num_done
    while row * stride < count:
        yield window()
        row += 1


def library_versions(kind: type[Backbone]) -> dict[str, str]:
    """Versions of the libraries that decide a feature's last digits."""
    versions = {"mmn": VERSION, "torch": str(torch.__version__), **dict([decoder_version()])}
    if kind.library:
        versions[kind.library] = importlib.metadata.version(kind.library)
    return versions
