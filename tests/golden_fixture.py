"""Reading the recorded fixtures (SPEC section 9) from the folder named by MMN_GOLDEN, by default `tests/golden`."""

import json
import os
from pathlib import Path

import numpy as np
import torch

from mmn.config import get_cfg
from mmn.modeling import build_model
from mmn.structures.batch import GroundingBatch, SentenceLayout
from mmn.utils.checkpoint import load_checkpoint, load_weights

GOLDEN = Path(os.environ.get("MMN_GOLDEN") or Path(__file__).parent / "golden")
FIXTURE_FOLDERS = sorted(path.parent.name for path in GOLDEN.glob("*/trajectory.npz"))
# Each is met with both forms of the convolutions: MODEL.MMN.PREDICTOR.IMPL.
MMN_FIXTURES = [f"{folder}-{impl}" for folder in FIXTURE_FOLDERS for impl in ("dense", "fast")]


def load_npz(*parts: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN.joinpath(*parts)) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


class GoldenFixture:
    """One of the MMN fixtures: its config in our keys, its two batches, and its recorded arrays by file.

    name: `<folder>-<impl>`, see MMN_FIXTURES.
    """

    def __init__(self, name: str):
        folder, _, impl = name.partition("-")
        self.folder = GOLDEN / folder
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.cfg = self._config(self.meta["config"])
        self.cfg.MODEL.MMN.PREDICTOR.IMPL = impl
        self.arrays = load_npz(folder, "batches.npz")
        self.videos_per_batch = len(self.meta["durations"][0])

    def recorded(self, file: str) -> dict[str, torch.Tensor]:
        return load_npz(self.folder.name, file)

    def recorded_scores(self, file: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Score maps (contrastive, iou) of all sentences of batch 0, each [S, N, N]."""
        arrays = self.recorded(file)
        videos = range(self.videos_per_batch)
        return tuple(torch.cat([arrays[f"v{video}_{kind}"] for video in videos]) for kind in ("contrastive", "iou"))

    def recorded_iou_maps(self, number: int) -> torch.Tensor:
        """[S, N, N] of batch 0 or 1."""
        return torch.cat([self.arrays[f"b{number}_v{video}_iou2d"] for video in range(self.videos_per_batch)])

    def recorded_nms(self) -> list[torch.Tensor]:
        """Per sentence of batch 0 the moments kept, [n, 2] seconds."""
        arrays = self.recorded("eval.npz")
        counts = [len(self.arrays[f"b0_v{video}_moments"]) for video in range(self.videos_per_batch)]
        return [arrays[f"v{video}_s{number}_nms"] for video, count in enumerate(counts) for number in range(count)]

    def checkpoint(self, file: str = "checkpoint.pth") -> Path:
        return self.folder / file

    def model(self, file: str = "checkpoint.pth") -> torch.nn.Module:
        """The network with the weights of a checkpoint of the fixture, in training mode."""
        model = build_model(self.cfg, pretrained_text=False)
        path = str(self.checkpoint(file))
        load_weights(model, load_checkpoint(path)["model"], path)
        return model

    @staticmethod
    def _config(values: dict):
        cfg = get_cfg()
        cfg.INPUT.NUM_PRE_CLIPS = values["P"]
        mmn = cfg.MODEL.MMN
        mmn.NUM_CLIPS, mmn.JOINT_SPACE_SIZE = values["N"], values["J"]
        mmn.FEATPOOL.INPUT_SIZE, mmn.FEATPOOL.HIDDEN_SIZE = values["IN"], values["H"]
        mmn.FEATPOOL.KERNEL_SIZE = values["K"]
        mmn.FEAT2D.NAME, mmn.FEAT2D.POOLING_COUNTS = values["F2"], values["PC"]
        mmn.TEXT_ENCODER.PRETRAINED = str(GOLDEN / "bert")
        mmn.PREDICTOR.HIDDEN_SIZE, mmn.PREDICTOR.KERNEL_SIZE = values["PH"], values["PK"]
        mmn.PREDICTOR.NUM_STACK_LAYERS = values["L"]
        loss = mmn.LOSS
        loss.MIN_IOU, loss.MAX_IOU = values["MINI"], values["MAXI"]
        loss.NUM_POSTIVE_VIDEO_PROPOSAL = values["TOP"]
        loss.TAU_VIDEO, loss.TAU_SENT, loss.MARGIN = values["TV"], values["TS"], values["MG"]
        loss.CONTRASTIVE_WEIGHT = values["CW"]
        cfg.SOLVER.LR, cfg.SOLVER.MILESTONES = 0.002, (2, 3)
        cfg.SOLVER.FREEZE_BERT, cfg.SOLVER.ONLY_IOU, cfg.SOLVER.MAX_EPOCH = 1, 2, 4
        return cfg

    def batch(self, number: int) -> GroundingBatch:
        """Batch 0 or 1; the sentences, padded per video in the fixture, are padded here over the whole batch."""
        videos = [f"b{number}_v{video}" for video in range(self.videos_per_batch)]
        counts = [len(self.arrays[f"{video}_moments"]) for video in videos]
        lengths = torch.cat([self.arrays[f"{video}_lens"] for video in videos])
        tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
        rows = (row for video in videos for row in self.arrays[f"{video}_tokens"])
        for row, (ids, length) in enumerate(zip(rows, lengths, strict=True)):
            tokens[row, :length] = ids[:length]
        return GroundingBatch(
            feats=torch.stack([self.arrays[f"{video}_pooled"] for video in videos]),
            tokens=tokens,
            token_mask=(torch.arange(tokens.shape[1]) < lengths[:, None]).long(),
            token_rows=torch.arange(len(lengths)),
            layout=SentenceLayout.from_counts(counts),
            moments=torch.cat([self.arrays[f"{video}_moments"] for video in videos]),
            durations=torch.tensor(self.meta["durations"][number], dtype=torch.float32),
            sentence_ids=torch.arange(len(lengths)),
            video_ids=videos,
        )
