"""Temporal grounding: the moment (start, end) of every sentence of a video."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils.data import DataLoader

from mmn.data.check_split import split_problems
from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset, summarise_durations
from mmn.data.loaders import build_collator, build_dataset, check_files, feature_recipe, write_clip_file
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.task import Task
from mmn.evaluation.inference import MomentRanker, Predictions, predict
from mmn.evaluation.map_file import MapRecorder, MapRequest, write_maps
from mmn.evaluation.moment_metrics import evaluate, write_predictions
from mmn.evaluation.recall import SELECTION_METRIC
from mmn.modeling import build_criterion, build_model, build_proposal_cells
from mmn.modeling.losses import GroundingCriterion
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.errors import ConfigError
from mmn.utils.logger import get_logger


class MomentTask(Task):
    """MODEL.ARCHITECTURE "MMN"."""

    selection_metric = SELECTION_METRIC

    def validate(self) -> None:
        size = self.cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE
        if not isinstance(size, int):
            raise ConfigError(
                f"MODEL.MMN.FEATPOOL.INPUT_SIZE is {size}, but moments have one feature file: give one width"
            )

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

    def feature_recipe(self, split: str) -> FeatureRecipe | None:
        return feature_recipe(self.cfg, split)

    def training_facts(self, datasets: Sequence[MomentDataset]) -> dict[str, object]:
        return {"train_durations": summarise_durations(datasets)}

    def build_model(self, pretrained_text: bool) -> nn.Module:
        return build_model(self.cfg, pretrained_text)

    def build_criterion(self) -> GroundingCriterion:
        return build_criterion(self.cfg)

    def build_ranker(self) -> MomentRanker:
        """Scores -> ranked moments, as TEST says."""
        test, cells = self.cfg.TEST, build_proposal_cells(self.cfg)
        return MomentRanker(cells, test.NMS_THRESH, test.CONTRASTIVE_SCORE_POW, test.NUM_PREDICTIONS, test.SCORE)

    def predict(self, model: nn.Module, loader: DataLoader, device: torch.device) -> Predictions:
        return predict(model, loader, self.build_ranker(), device)

    def predict_with_maps(
        self, model: nn.Module, loader: DataLoader, device: torch.device, request: MapRequest
    ) -> Predictions:
        dataset, ranker = loader.dataset, self.build_ranker()
        recorder = MapRecorder(ranker, request.wanted(dataset.num_sentences))
        predictions = predict(model, loader, recorder, device)
        maps = recorder.merge()
        if comm.get_rank() == 0:
            pooling_counts = self.cfg.MODEL.MMN.FEAT2D.POOLING_COUNTS
            write_maps(request.path, dataset, ranker, pooling_counts, maps)
            get_logger().info("wrote %s, the maps of %d sentences", request.path, len(maps[0]))
        return predictions

    def evaluate(self, predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
        return evaluate(predictions, dataset)

    def write_predictions(self, path: str, dataset: MomentDataset, predictions: Predictions) -> None:
        write_predictions(path, dataset, predictions)
