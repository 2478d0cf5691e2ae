"""Temporal grounding: the moment (start, end) of every sentence of a video."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader

from mmn.data.build import build_collator, build_dataset, check_files, write_clip_file
from mmn.data.check import split_problems
from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.evaluation import SELECTION_METRIC, evaluate
from mmn.engine.inference import MomentRanker, Predictions, predict
from mmn.engine.prediction_file import write_predictions
from mmn.engine.task import Task
from mmn.modeling import build_criterion, build_model, build_proposal_cells
from mmn.modeling.losses import GroundingCriterion


class MomentTask(Task):
    """MODEL.ARCHITECTURE "MMN"."""

    selection_metric = SELECTION_METRIC

    def validate(self) -> None:
        pass

    def check_files(self, split: str) -> None:
        check_files(self.cfg, split)

    def split_problems(self, split: str) -> Iterator[str]:
        return split_problems(self.cfg, split)

    def write_clip_file(self, split: str) -> None:
        write_clip_file(self.cfg, split)

    def build_dataset(self, split: str, tokenizer: QueryTokenizer) -> MomentDataset:
        return build_dataset(self.cfg, split, tokenizer)

    def build_collator(self, tokenizer: QueryTokenizer) -> Collator:
        return build_collator(self.cfg, tokenizer)

    def build_model(self, pretrained_text: bool) -> nn.Module:
        return build_model(self.cfg, pretrained_text)

    def build_criterion(self) -> GroundingCriterion:
        return build_criterion(self.cfg)

    def build_ranker(self) -> MomentRanker:
        test, cells = self.cfg.TEST, build_proposal_cells(self.cfg)
        return MomentRanker(cells, test.NMS_THRESH, test.CONTRASTIVE_SCORE_POW, test.NUM_PREDICTIONS)

    def predict(self, model: nn.Module, loader: DataLoader, device: torch.device) -> Predictions:
        return predict(model, loader, self.build_ranker(), device)

    def evaluate(self, predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
        return evaluate(predictions, dataset)

    def write_predictions(self, path: str, dataset: MomentDataset, predictions: Predictions) -> None:
        write_predictions(path, dataset, predictions)
