"""HC-STVG: which person, and from which frame to which (SPEC section 8)."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from mmn.data.collate import Collator
from mmn.data.loaders import build_collator
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_annotations import write_entries
from mmn.data.tube_dataset import (
    TubeCollator,
    TubeDataset,
    build_tube_dataset,
    check_tube_files,
    tube_problems,
    write_tube_clip_file,
)
from mmn.engine.task import Task
from mmn.evaluation.inference import predict
from mmn.evaluation.recall import SELECTION_METRIC
from mmn.evaluation.tube_metrics import (
    TubePredictions,
    TubeRanker,
    predicted_pieces,
    prediction_entries,
    tube_ious,
    tube_metrics,
    tube_sums,
)
from mmn.modeling import build_model, build_proposal_cells
from mmn.modeling.build import build_tube_criterion, build_tube_featpool
from mmn.modeling.tubes import TubeCriterion
from mmn.utils import comm
from mmn.utils.errors import ConfigError


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
