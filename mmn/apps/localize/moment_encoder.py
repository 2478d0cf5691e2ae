"""A trained network as the localizer uses it: windows of a video and sentences -> their vectors in the joint spaces.

Shapes: see the legend in `mmn.modeling`; U counts sentences.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.config.validate import input_sizes
from mmn.data.collate import Collator
from mmn.data.features import resample_clips
from mmn.data.sentence_dataset import SentenceCollator
from mmn.data.tokenizer import QueryTokenizer
from mmn.modeling import build_proposal_cells
from mmn.modeling.mmn import MMN
from mmn.structures.proposals import ProposalCells
from mmn.utils.comm import resolve_device
from mmn.utils.errors import ConfigError


def keep_all() -> None:
    """Do nothing, where vectors are in memory and not in files of which some memory could be given back."""


class MomentEncoder:
    """Gives moments and sentences their unit vectors in the two joint spaces, (contrastive, iou).

    Any number of threads may use it: windows go through the network one batch after the other, sentences side by side.

    Args:
        model: the network; it goes to `device` and stays in evaluation mode.
        tokenizer: the one that belongs to its text encoder.
        cells: its proposal map.
        num_pre_clips: P.
        widths: those of the feature tracks that its rows are joined of.
        joint_space_size: C.
        device: place of the network.
        batch_size: windows that go through it at once.
    Attributes:
        num_vectors: how many different vectors a moment has.
    """

    num_vectors = 2

    def __init__(
        self,
        model: MMN,
        tokenizer: QueryTokenizer,
        cells: ProposalCells,
        num_pre_clips: int,
        widths: Sequence[int],
        joint_space_size: int,
        device: torch.device,
        batch_size: int = 16,
    ):
        self.device = device
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.cells = cells
        self.num_pre_clips = num_pre_clips
        self.widths = list(widths)
        self.joint_space_size = joint_space_size
        self.batch_size = batch_size
        self._collator = self.build_collator(1 if device.type == "cpu" else 8)
        # The convolutions keep transformed weights that the first video makes; a tokenizer has switches that a call sets.
        self._video_lock = threading.Lock()
        self._tokenizer_lock = threading.Lock()

    def build_collator(self, length_multiple: int) -> Collator:
        """The collator of the tokenizer's sentences; see `Collator` for the argument."""
        return Collator(self.tokenizer.pad_id, length_multiple, self.tokenizer.max_length)

    @property
    def vector_size(self) -> int:
        """Numbers in each of a moment's vectors: C."""
        return self.joint_space_size

    def resample(self, rows: np.ndarray) -> np.ndarray:
        """The feature rows [T0, D] of a window -> its clips [P, D] float32."""
        return resample_clips(rows, self.num_pre_clips, widths=self.widths)

    @torch.no_grad()
    def encode_clips(self, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """Windows [B, P, D] float32 of any videos -> the vectors of their moments, each [B, M, C] float32."""
        feats = torch.from_numpy(clips).to(self.device)
        with self._video_lock:
            return self.model.encode_videos(feats)

    def encode_windows(self, windows: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
        """The feature rows of W windows -> the vectors of their moments, each [W, M, C] on `device`."""
        parts = []
        for start in range(0, len(windows), self.batch_size):
            clips = np.stack([self.resample(rows) for rows in windows[start : start + self.batch_size]])
            parts.append([vectors.to(device) for vectors in self.encode_clips(clips)[: self.num_vectors]])
        encoded = [torch.cat(vectors) for vectors in zip(*parts, strict=True)]
        return encoded[0], encoded[-1]

    def match(
        self, vectors: tuple[Tensor, Tensor], sentences: list[str], let_go: Callable[[], None] = keep_all
    ) -> tuple[Tensor, ...]:
        """Vectors of W windows, each [W, M, C], and U different sentences -> what a scoring rule scores, each [U, W, M].

        Here these are the cosines in the two joint spaces, on the device of the vectors.

        Args:
            let_go: called when vectors were read, see `EncodedVideo.let_go`.
        """
        cosines = []
        for own, of in zip(self.encode_sentences(sentences), vectors, strict=True):
            cosines.append((own.to(of.device) @ of.flatten(0, 1).mT).unflatten(1, of.shape[:2]))
            let_go()
        return tuple(cosines)

    @torch.no_grad()
    def encode_sentences(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """U different sentences -> their vectors, each [U, C], in one forward pass."""
        tokens, token_mask, token_rows = self.padded_tokens(sentences)
        encoded = self.model.encode_sentences(tokens, token_mask)
        contrastive, iou = (rows[token_rows] for rows in encoded)
        return contrastive, iou

    def padded_tokens(self, sentences: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, mask and rows of sentences on the device of the text encoder, see `Collator.pad_tokens`."""
        with self._tokenizer_lock:
            tokens = self.tokenizer(sentences)
        tokens, token_mask, token_rows = (part.to(self.device) for part in self._collator.pad_tokens(tokens))
        return tokens, token_mask, token_rows


class MapEncoder(MomentEncoder):
    """2D-TAN's: the vectors of moments wait for a sentence, with which they go through the map's convolutions."""

    num_vectors = 1

    def build_collator(self, length_multiple: int) -> Collator:
        return SentenceCollator(self.tokenizer.vectors, self.tokenizer.pad_id, length_multiple)

    @property
    def joint_space_size(self) -> int:
        """Raises ConfigError: there is no joint space."""
        raise self._no_vectors()

    @joint_space_size.setter
    def joint_space_size(self, size: int) -> None:
        """Set nothing: the config has a size, which no part of the model has."""

    @property
    def vector_size(self) -> int:
        """H."""
        return self.model.fusion_layer.vis_conv.out_channels

    @torch.no_grad()
    def encode_clips(self, clips: np.ndarray) -> tuple[Tensor, Tensor]:
        """As in `MomentEncoder`, [B, M, H], in both places."""
        feats = torch.from_numpy(clips).to(self.device)
        with self._video_lock:
            vectors = self.model.encode_videos(feats)
        return vectors, vectors

    def encode_sentences(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Raises ConfigError: a sentence is no vector that moments could be compared with."""
        raise self._no_vectors()

    @staticmethod
    def _no_vectors() -> ConfigError:
        return ConfigError(
            "a 2D-TAN gives moments no vectors before the sentence is known, so there is nothing to index or to compare: "
            "search one video at a time, or take a model of MODEL.ARCHITECTURE MMN"
        )

    @torch.no_grad()
    def match(
        self, vectors: tuple[Tensor, Tensor], sentences: list[str], let_go: Callable[[], None] = keep_all
    ) -> tuple[Tensor, ...]:
        """As in `MomentEncoder`: the score of each moment of each window with each sentence, [U, W, M]."""
        moments, _ = vectors
        tokens, token_mask, token_rows = self.padded_tokens(sentences)
        encoded = self.model.encode_sentences(tokens, token_mask)[token_rows]
        pairs = torch.cartesian_prod(torch.arange(len(sentences)), torch.arange(len(moments)))
        parts = []
        for sentence, window in (part.unbind(1) for part in pairs.split(self.batch_size)):
            with self._video_lock:
                output = self.model.match(moments[window].to(self.device), encoded[sentence])
            parts.append(output.scores.to(moments.device))
            let_go()
        return (torch.cat(parts).unflatten(0, (len(sentences), len(moments))),)


ENCODERS = {"TAN2D": MapEncoder}  # by MODEL.ARCHITECTURE; MomentEncoder for all others


def build_moment_encoder(
    cfg: CfgNode,
    model: MMN,
    tokenizer: QueryTokenizer,
    device: torch.device | str | None = None,
    widths: Sequence[int] | None = None,
) -> MomentEncoder:
    """The encoder of a network that was built from `cfg`.

    Args:
        device: place of the network; by default MODEL.DEVICE.
        widths: see `MomentEncoder`; by default those of MODEL.MMN.FEATPOOL.INPUT_SIZE.
    Raises ConfigError where this machine has no such device.
    """
    device = usable_device(cfg.MODEL.DEVICE if device is None else device)
    cells = build_proposal_cells(cfg)
    return ENCODERS.get(cfg.MODEL.ARCHITECTURE, MomentEncoder)(
        model,
        tokenizer,
        cells,
        cfg.INPUT.NUM_PRE_CLIPS,
        widths or input_sizes(cfg),
        cfg.MODEL.MMN.JOINT_SPACE_SIZE,
        device,
        cfg.TEST.BATCH_SIZE,
    )


def usable_device(name: torch.device | str) -> torch.device:
    """The device of that name. Raises ConfigError where this machine has none."""
    device = resolve_device(name) if isinstance(name, str) else name
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"the device {str(name)!r} cannot be used on this machine: take auto or cpu") from error
    return device
