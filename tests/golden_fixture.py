"""Reading the recorded fixtures (SPEC section 9) from the folder named by MMN_GOLDEN, by default `tests/golden`."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mmn.config import get_cfg, load_config
from mmn.data.annotations import VideoAnnotation, read_annotations
from mmn.data.dataset import VideoSample
from mmn.data.glove import build_word_tokenizer
from mmn.data.sentence_dataset import SentenceCollator
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import parse_table
from mmn.data.tube_dataset import TubeCollator, TubeSample
from mmn.modeling import build_model, build_proposal_cells
from mmn.modeling.build import build_tan2d, build_tube_featpool
from mmn.modeling.tan2d_weights import official_names
from mmn.structures.batch import GroundingBatch, RowLayout, TubeBatch
from mmn.structures.tubes import Tubes, concatenate
from mmn.utils.checkpoint import load_checkpoint, load_weights

GOLDEN = Path(os.environ.get("MMN_GOLDEN") or Path(__file__).parent / "golden")
FIXTURE_FOLDERS = sorted(path.parent.name for path in GOLDEN.glob("*/trajectory.npz"))
# Each is met with both forms of the convolutions: MODEL.MMN.PREDICTOR.IMPL.
MMN_FIXTURES = [f"{folder}-{impl}" for folder in FIXTURE_FOLDERS for impl in ("dense", "fast")]
POOL_FIXTURES = [name for name in MMN_FIXTURES if name.startswith("pool") and name.endswith("dense")]


STVG_FOLDERS = sorted(path.parent.name for path in GOLDEN.glob("*/batch.npz"))
STVG_FIXTURES = [f"{folder}-{impl}" for folder in STVG_FOLDERS for impl in ("dense", "fast")]

# 2D-TAN: the official program's, pool and conv, and the third-party one's.
TAN_FOLDERS = sorted(path.parent.name for path in GOLDEN.glob("tan/*/trajectory.npz"))
TAN_FIXTURES = [f"{folder}-{impl}" for folder in TAN_FOLDERS for impl in ("dense", "fast")]
OFFICIAL_FIXTURES = [
    name for name in TAN_FIXTURES if (GOLDEN / "tan" / name.partition("-")[0] / "official.yaml").exists()
]


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

    def digest(self) -> str:
        """A name for the recorded training run."""
        return hashlib.sha256((self.folder / "trajectory.npz").read_bytes()).hexdigest()[:12]

    def model(self, file: str = "checkpoint.pth", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """The network with the weights of a checkpoint of the fixture, in training mode."""
        model = build_model(self.cfg, pretrained_text=False)
        path = str(self.checkpoint(file))
        load_weights(model, load_checkpoint(path)["model"], path)
        return model.to(dtype)

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

    def batch(self, number: int, dtype: torch.dtype = torch.float32) -> GroundingBatch:
        """Batch 0 or 1; the sentences, padded per video in the fixture, are padded here over the whole batch."""
        videos = [f"b{number}_v{video}" for video in range(self.videos_per_batch)]
        counts = [len(self.arrays[f"{video}_moments"]) for video in videos]
        lengths = torch.cat([self.arrays[f"{video}_lens"] for video in videos])
        tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
        rows = (row for video in videos for row in self.arrays[f"{video}_tokens"])
        for row, (ids, length) in enumerate(zip(rows, lengths, strict=True)):
            tokens[row, :length] = ids[:length]
        return GroundingBatch(
            feats=torch.stack([self.arrays[f"{video}_pooled"] for video in videos]).to(dtype),
            tokens=tokens,
            token_mask=(torch.arange(tokens.shape[1]) < lengths[:, None]).long(),
            token_rows=torch.arange(len(lengths)),
            layout=RowLayout.from_counts(counts),
            moments=torch.cat([self.arrays[f"{video}_moments"] for video in videos]),
            moment_layout=RowLayout.from_counts([1] * sum(counts)),
            durations=torch.tensor(self.meta["durations"][number], dtype=torch.float32),
            sentence_ids=torch.arange(len(lengths)),
            video_ids=videos,
        )


class StvgFixture:
    """The HC-STVG fixture: its config, by the released names of the keys, its one batch, and its recorded arrays."""

    def __init__(self, name: str):
        folder, _, impl = name.partition("-")
        self.folder = GOLDEN / folder
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.cfg = self._config(self.meta["config"], impl)
        self.arrays = load_npz(folder, "batch.npz")
        self.num_tubes = self.meta["num_tubes"]
        self.videos = range(len(self.num_tubes))
        self.video_ids = list(self.meta["predictions"])

    @staticmethod
    def _config(values: dict, impl: str):
        options = {
            "MODEL.ARCHITECTURE": "TAN",
            "INPUT.NUM_PRE_CLIPS": values["NUM_PRE_CLIPS"],
            "MODEL.TAN.NUM_CLIPS": values["NUM_CLIPS"],
            "MODEL.TAN.JOINT_SPACE_SIZE": values["JOINT"],
            "MODEL.TAN.FEATPOOL.INPUT_SIZE": values["INPUT_SIZE"],
            "MODEL.TAN.FEATPOOL.HIDDEN_SIZE": values["HIDDEN"],
            "MODEL.TAN.FEATPOOL.KERNEL_SIZE": values["featpool_kernel"],
            "MODEL.TAN.FEAT2D.POOLING_COUNTS": values["POOLING_COUNTS"],
            "MODEL.TAN.PREDICTOR.HIDDEN_SIZE": values["PRED_HIDDEN"],
            "MODEL.TAN.PREDICTOR.KERNEL_SIZE": values["predictor_kernel"],
            "MODEL.TAN.PREDICTOR.NUM_STACK_LAYERS": values["predictor_layers"],
            "MODEL.TAN.LOSS.MIN_IOU": values["MIN_IOU"],
            "MODEL.TAN.LOSS.MAX_IOU": values["MAX_IOU"],
            "MODEL.TAN.LOSS.NEGATIVE_VIDEO_IOU": values["NEG"],
            "MODEL.TAN.LOSS.TAU_VIDEO": values["TAU"][0],
            "MODEL.TAN.LOSS.TAU_SENT": values["TAU"][1],
            "MODEL.TAN.LOSS.MARGIN": values["MARGIN"],
            "MODEL.TAN.LOSS.CONTRASTIVE_WEIGHT": 0.1,
            "MODEL.MMN.PREDICTOR.IMPL": impl,
            "MODEL.MMN.TEXT_ENCODER.PRETRAINED": GOLDEN / "bert",
        }
        return load_config(None, [str(part) for pair in options.items() for part in pair])

    def recorded(self, file: str) -> dict[str, torch.Tensor]:
        return load_npz(self.folder.name, file)

    def recorded_maps(self, kind: str, file: str = "batch.npz") -> torch.Tensor:
        """A recorded array of all tubes of the batch, [T, ...]: "stiou2d", "pooled", "contrastive" or "iou"."""
        arrays = self.recorded(file)
        return torch.cat([arrays[f"v{video}_{kind}"] for video in self.videos])

    def truth(self, video: int) -> Tubes:
        return _as_tubes([self.arrays[f"v{video}_gttube"]])

    def tubes(self, video: int) -> Tubes:
        return _as_tubes([self.arrays[f"v{video}_t{tube}_tube"] for tube in range(self.num_tubes[video])])

    def all_tubes(self) -> tuple[Tubes, Tubes]:
        """The candidates of all videos, and the truth of each of them."""
        truths = [
            self.truth(video).select(torch.zeros(self.num_tubes[video], dtype=torch.int64)) for video in self.videos
        ]
        return concatenate([self.tubes(video) for video in self.videos]), concatenate(truths)

    def model(self) -> torch.nn.Module:
        """The network with the fixture's weights, in training mode."""
        model = build_model(self.cfg, pretrained_text=False, make_featpool=build_tube_featpool)
        path = str(self.folder / "checkpoint.pth")
        load_weights(model, load_checkpoint(path)["model"], path)
        return model

    def batch(self) -> TubeBatch:
        """The batch on the recorded features and IoU maps."""
        cells = build_proposal_cells(self.cfg)
        tokens = QueryTokenizer(str(GOLDEN / "bert"))(self.meta["sentences"])
        samples = [
            TubeSample(
                clips=self.arrays[f"v{video}_pooled"].numpy(),
                tokens=tokens[video],
                lengths=self.tubes(video).lengths,
                ious=cells.from_map(self.arrays[f"v{video}_stiou2d"]),
                video_id=self.video_ids[video],
                number=video,
            )
            for video in self.videos
        ]
        return TubeCollator(pad_id=0)(samples)


class TanFixture:
    """One of the fixtures of 2D-TAN: its config in our keys, its sentences, and its recorded arrays by file.

    name: `<folder>-<impl>`, see TAN_FIXTURES. All sentences of the fixture make one batch, see `batch`.
    """

    def __init__(self, name: str):
        folder, _, impl = name.partition("-")
        self.folder = GOLDEN / "tan" / folder
        self.meta = json.loads((self.folder / "meta.json").read_text())
        self.cfg = self._config(self.meta["config"])
        self.cfg.MODEL.MMN.PREDICTOR.IMPL = impl
        self.arrays = self.recorded("batch.npz")
        self.cells = build_proposal_cells(self.cfg)
        self.tokenizer = build_word_tokenizer(self.cfg)

    def recorded(self, file: str) -> dict[str, torch.Tensor]:
        return load_npz("tan", self.folder.name, file)

    @property
    def sentence_batch(self) -> int:
        """Sentences of a batch, in training and in validation."""
        return self.meta["config"]["batch"]

    def batches(self) -> list[list[list[int]]]:
        """The sentences of every training batch, by epoch."""
        size = self.sentence_batch
        return [
            [order[start : start + size] for start in range(0, len(order), size)] for order in self.meta["train_order"]
        ]

    def _config(self, values: dict):
        cfg = get_cfg()
        cfg.MODEL.ARCHITECTURE = "TAN2D"
        cfg.INPUT.NUM_PRE_CLIPS = values["P"]
        mmn, text = cfg.MODEL.MMN, cfg.MODEL.TAN2D.TEXT
        mmn.NUM_CLIPS = values["N"]
        mmn.FEATPOOL.INPUT_SIZE, mmn.FEATPOOL.HIDDEN_SIZE = values["IN"], values["H"]
        mmn.FEATPOOL.KERNEL_SIZE = values["K"]
        mmn.FEAT2D.NAME, mmn.FEAT2D.POOLING_COUNTS = values["F2"], values["PC"]
        mmn.PREDICTOR.HIDDEN_SIZE, mmn.PREDICTOR.KERNEL_SIZE = values["PH"], values["PK"]
        mmn.PREDICTOR.NUM_STACK_LAYERS = values["L"]
        mmn.LOSS.MIN_IOU, mmn.LOSS.MAX_IOU = values["MINI"], values["MAXI"]
        cfg.MODEL.TAN2D.MASK_FUSION = values["MASK_FUSION"]
        text.GLOVE, text.CUT_PERIOD = str(self.folder / "glove.txt"), self.meta["dataset"] == "Charades"
        text.EMBEDDING_SIZE, text.HIDDEN_SIZE, text.NUM_LAYERS = values["E"], values["TH"], values["LL"]
        return cfg

    def training_config(self):
        """The config of the recorded training, validated on all sentences, a log line per step."""
        values, cfg = self.meta["config"], self.cfg.clone()
        solver, is_plateau = cfg.SOLVER, values["SCHEDULE"] == "plateau"
        cfg.DATASETS.VAL = ("all sentences",)
        solver.OPTIMIZER, solver.LR, solver.BATCH_SIZE = "adam", values["LR"], values["batch"]
        solver.CLIP_GRAD_NORM, solver.SCHEDULE = values["CLIP"], values["SCHEDULE"]
        solver.MAX_EPOCH, solver.LOG_PERIOD = len(self.meta["train_order"]), 1
        solver.TEST_ITERS, solver.TEST_PERIOD, solver.CHECKPOINT_PERIOD = (-1 if is_plateau else 0), 100, 100
        if is_plateau:
            solver.PLATEAU_FACTOR, solver.PLATEAU_PATIENCE = values["FACTOR"], values["PATIENCE"]
        else:
            solver.MILESTONES, solver.GAMMA = tuple(values["MILESTONES"]), values["GAMMA"]
        return cfg

    def model(self, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """The network with the initial weights, in training mode."""
        model, path = build_tan2d(self.cfg), str(self.folder / "checkpoint.pth")
        masked = self.cfg.MODEL.TAN2D.MASK_FUSION
        load_weights(model, official_names(load_checkpoint(path)["model"], path, masked), path)
        return model.to(dtype)

    def recorded_weights(self, prefix: str, file: str) -> dict[str, torch.Tensor]:
        """Recorded tensors whose names begin with `prefix`, by our names of the weights."""
        arrays = {key: value for key, value in self.recorded(file).items() if key.startswith(prefix)}
        arrays = {key.removeprefix(prefix): value for key, value in arrays.items()}
        return dict(official_names(arrays, file, masked=False))

    def annotations(self) -> list[VideoAnnotation]:
        """The videos as our reader gives them."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(self.meta["annotations"], file)
            file.flush()
            return read_annotations(file.name, "frames" if self.meta["dataset"] == "TACoS" else "seconds")

    def batch(self, sentences: Sequence[int] | None = None, dtype: torch.dtype = torch.float32) -> GroundingBatch:
        """A batch of these sentences, by their numbers in file order, on the recorded features; None takes all."""
        samples = []
        for video, annotation in enumerate(self.annotations()):
            first = int((self.arrays["video"] < video).sum())
            for place, sentence in enumerate(annotation.sentences):
                own = slice(place, place + 1)
                alone = replace(annotation, sentences=[sentence], windows=annotation.windows[own])
                clips = self.arrays["pooled"][video].numpy()
                samples.append(VideoSample(clips, self.tokenizer([sentence]), alone, first + place))
        chosen = samples if sentences is None else [samples[number] for number in sentences]
        batch = SentenceCollator(self.tokenizer.vectors)(chosen)
        batch.feats, batch.tokens = batch.feats.to(dtype), batch.tokens.to(dtype)
        return batch


def _as_tubes(tubes: list[torch.Tensor]) -> Tubes:
    """Tubes as the fixture has them, rows (frame, x1, y1, x2, y2)."""
    tables = [np.insert(tube.numpy().astype(np.float64), 0, number, axis=1) for number, tube in enumerate(tubes)]
    return parse_table("the fixture", np.concatenate(tables))
