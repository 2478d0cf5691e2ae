"""HC-STVG: which person, and from which frame to which (SPEC section 8)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmn.data.build import build_collator
from mmn.data.collate import Collator
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import write_entries
from mmn.data.tubes import (
    TubeCollator,
    TubeDataset,
    build_tube_dataset,
    check_tube_files,
    tube_problems,
    write_tube_clip_file,
)
from mmn.engine.evaluation import SELECTION_METRIC
from mmn.engine.inference import predict
from mmn.engine.task import Task
from mmn.engine.tube_evaluation import (
    TubePredictions,
    predicted_pieces,
    prediction_entries,
    tube_ious,
    tube_metrics,
    tube_sums,
)
from mmn.modeling import build_model, build_proposal_cells
from mmn.modeling.build import build_tube_criterion, build_tube_featpool
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.tubes import TubeCriterion, tube_scores
from mmn.structures.batch import TubeBatch, TubeLayout
from mmn.structures.proposals import ProposalCells
from mmn.structures.tubes import cell_rows
from mmn.utils import comm
from mmn.utils.errors import ConfigError


class TubeRanker:
    """Scores of the proposal maps of all tubes of a video -> its best piece."""

    predictions = TubePredictions

    def __init__(self, cells: ProposalCells):
        self.cells = cells

    def __call__(self, output: GroundingOutput, batch: TubeBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tubes, starts, stops and scores, each [S]."""
        return self.best(tube_scores(output, batch.tubes).float(), batch.tubes, batch.lengths)

    def best(self, scores: Tensor, tubes: TubeLayout, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same from scores [T, M]. Cells without a row are left out; of equal scores the first is taken.

        Args:
            lengths: [T] int64, frames of each tube.
        """
        start, stop = cell_rows(self.cells, lengths)
        padded = tubes.pad(scores.masked_fill(stop <= start, -torch.inf), fill=-torch.inf).flatten(1)
        score, place = padded.max(dim=1)
        slot, cell = place // len(self.cells), place % len(self.cells)
        row = tubes.first_rows + slot
        return slot, start[row, cell], stop[row, cell], score

    def no_rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        numbers = torch.zeros(0, dtype=torch.int64)
        return numbers, numbers, numbers, torch.zeros(0)


class TubeTask(Task):
    """MODEL.ARCHITECTURE "STVG"."""

    selection_metric = SELECTION_METRIC

    def validate(self) -> None:
        count = self.cfg.MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL
        if count != 1:
            raise ConfigError(
                f"MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL is {count}, but a sentence of HC-STVG has one positive: set it "
                "to 1"
            )

    def check_files(self, split: str) -> None:
        check_tube_files(self.cfg, split)

    def split_problems(self, split: str) -> Iterator[str]:
        return tube_problems(self.cfg, split)

    def write_clip_file(self, split: str) -> None:
        write_tube_clip_file(self.cfg, split)

    def build_dataset(self, split: str, tokenizer: QueryTokenizer) -> TubeDataset:
        return build_tube_dataset(self.cfg, split, build_proposal_cells(self.cfg), tokenizer)

    def build_collator(self, tokenizer: QueryTokenizer) -> Collator:
        return build_collator(self.cfg, tokenizer, TubeCollator)

    def build_model(self, pretrained_text: bool) -> nn.Module:
        return build_model(self.cfg, pretrained_text, build_tube_featpool)

    def build_criterion(self) -> TubeCriterion:
        return build_tube_criterion(self.cfg)

    def predict(self, model: nn.Module, loader: DataLoader, device: torch.device) -> TubePredictions:
        return predict(model, loader, TubeRanker(build_proposal_cells(self.cfg)), device)

    def evaluate(self, predictions: TubePredictions, dataset: TubeDataset) -> dict[str, float]:
        pieces = list(predicted_pieces(predictions, dataset.tubes))
        truths = [dataset.videos[number].truth for number, _ in pieces]
        ious = tube_ious([piece for _, piece in pieces], truths)
        return tube_metrics(comm.sum_over_processes(tube_sums(*ious, dataset.thresholds)), dataset.thresholds)

    def write_predictions(self, path: str, dataset: TubeDataset, predictions: TubePredictions) -> None:
        write_entries(path, prediction_entries(predictions, dataset))
