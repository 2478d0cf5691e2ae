"""Small configs, batches and embeddings that tests share."""

from collections.abc import Sequence
from pathlib import Path

import torch
from processes import ROOT, launch, run_python  # noqa: F401 (the last two for tests that import them from here)
from torch import nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mmn.config import load_config
from mmn.modeling.mmn import GroundingOutput
from mmn.structures.batch import GroundingBatch, RowLayout
from mmn.structures.proposals import ProposalCells

DIM = 8  # feature width of the tiny dataset
SYNTHETIC_CONFIG = str(ROOT / "configs" / "synthetic.yaml")
STVG_CONFIG = str(ROOT / "configs" / "synthetic_stvg.yaml")
TAN2D_CONFIG = str(ROOT / "configs" / "synthetic_tan2d.yaml")


def tiny_options(dataset_root: Path, output_dir: Path | str, config: str = SYNTHETIC_CONFIG) -> list[str]:
    """KEY VALUE pairs over synthetic.yaml, or one of its kind, for the tiny datasets of conftest.py."""
    options = {
        "DATASETS.ROOT": dataset_root,
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": Path(dataset_root) / Path(config).stem / "text_encoder",
        "MODEL.MMN.FEATPOOL.INPUT_SIZE": [DIM, DIM] if config == STVG_CONFIG else DIM,
        "MODEL.MMN.FEATPOOL.HIDDEN_SIZE": 8,
        "MODEL.MMN.JOINT_SPACE_SIZE": 8,
        "MODEL.MMN.PREDICTOR.HIDDEN_SIZE": 8,
        "MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.CACHE_GB": 0.01,
        "SOLVER.BATCH_SIZE": 2,
        "SOLVER.MAX_EPOCH": 2,
        "SOLVER.TEST_PERIOD": 1,
        "SOLVER.CHECKPOINT_PERIOD": 1,
        "TEST.BATCH_SIZE": 2,
        "OUTPUT_DIR": output_dir,
    }
    if config == TAN2D_CONFIG:
        options["MODEL.TAN2D.TEXT.GLOVE"] = Path(dataset_root) / "synthetic" / "glove.txt"
        options["MODEL.TAN2D.TEXT.EMBEDDING_SIZE"] = options["MODEL.TAN2D.TEXT.HIDDEN_SIZE"] = DIM
    return [str(part) for pair in options.items() for part in pair]


def tiny_config(dataset_root: Path, output_dir: Path | str, *options: str, config: str = SYNTHETIC_CONFIG) -> CfgNode:
    return load_config(config, [*tiny_options(dataset_root, output_dir, config), *options])


def without_biases(model: nn.Module) -> nn.Module:
    """The model, whose biases make its scores before training so equal that rounding decides which moment is first."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and not name.startswith("text_encoder.bert"):
                parameter.zero_()
    return model


def random_moments(durations: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """[S, 2] float32 seconds within `durations` [S], at least a tenth of them long."""
    first, second = torch.rand(2, len(durations), generator=generator)
    start = 0.9 * torch.minimum(first, second)
    end = torch.maximum(torch.maximum(first, second), start + 0.1)
    return torch.stack([start, end], dim=1) * durations[:, None]


def random_batch(
    counts: Sequence[int],
    num_pre_clips: int = 16,
    input_size: int = DIM,
    vocab_size: int = 60,
    seed: int = 0,
    moment_counts: Sequence[int] | None = None,
) -> GroundingBatch:
    """A batch with `counts[b]` sentences for video b, and `moment_counts[s]` moments (None: one) for sentence s."""
    generator = torch.Generator().manual_seed(seed)
    durations = torch.rand(len(counts), generator=generator) * 50 + 10
    layout = RowLayout.from_counts(counts)
    num_sentences = sum(counts)
    moment_layout = RowLayout.from_counts(moment_counts or [1] * num_sentences)
    lengths = torch.randint(3, 9, (num_sentences,), generator=generator)
    token_mask = (torch.arange(8) < lengths[:, None]).long()
    return GroundingBatch(
        feats=torch.randn(len(counts), num_pre_clips, input_size, generator=generator),
        tokens=torch.randint(5, vocab_size, (num_sentences, 8), generator=generator) * token_mask,
        token_mask=token_mask,
        token_rows=torch.arange(num_sentences),
        layout=layout,
        moments=random_moments(durations[layout.owner][moment_layout.owner], generator),
        moment_layout=moment_layout,
        durations=durations,
        sentence_ids=torch.arange(num_sentences),
        video_ids=[f"video_{number}" for number in range(len(counts))],
    )


def random_output(counts: Sequence[int], cells: ProposalCells, size: int = 6, seed: int = 0) -> list[torch.Tensor]:
    """Leaves float64 for a `GroundingOutput`, before normalisation."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(counts), len(cells), size)] * 2 + [(sum(counts), size)] * 2
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in map(tuple, shapes)
    ]


def normalised(leaves: Sequence[torch.Tensor]) -> GroundingOutput:
    return GroundingOutput(*(F.normalize(leaf, dim=-1) for leaf in leaves))
