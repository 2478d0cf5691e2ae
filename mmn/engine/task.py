"""What the engine asks of a grounding task. Training, checkpoints, processes and resuming are the same for all of them."""

import abc
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from mmn.data.collate import Collator
from mmn.data.tokenizer import QueryTokenizer
from mmn.evaluation.inference import SentencePredictions
from mmn.evaluation.map_file import MapRequest
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.errors import ConfigError


class Task(abc.ABC):
    """One task under one config; `mmn.engine.build.build_task` picks the class by MODEL.ARCHITECTURE.

    Its datasets have `name`, `num_sentences` and `has_truth`; its batches are `mmn.structures.batch.Batch`.

    Attributes:
        selection_metric: the metric by which the best checkpoint is picked, the higher the better.
    """

    selection_metric: str

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg

    @abc.abstractmethod
    def validate(self) -> None:
        """Raise ConfigError for values that `mmn.config.validate` lets pass but this task cannot work with."""

    # ---- Data: `split` is a name in DATASETS.TRAIN, VAL or TEST ----

    @abc.abstractmethod
    def check_files(self, split: str) -> None:
        """Raise DataError unless the split can be tested on: before a training that ends with its table."""

    @abc.abstractmethod
    def split_problems(self, split: str) -> Iterator[str]:
        """One sentence per problem of a split's files; every video is looked at."""

    @abc.abstractmethod
    def write_clip_file(self, split: str) -> None:
        """Resample the split's features into DATALOADER.CACHE_DIR."""

    @abc.abstractmethod
    def build_dataset(self, split: str, tokenizer: QueryTokenizer) -> Dataset:
        """The split, its files checked."""

    @abc.abstractmethod
    def build_collator(self, tokenizer: QueryTokenizer) -> Collator:
        """What makes batches of the dataset's samples."""

    def feature_recipe(self, split: str) -> FeatureRecipe | None:
        """How the split's features were made, where its files say so."""
        return None

    def training_facts(self, datasets: Sequence[Dataset]) -> dict[str, object]:
        """What checkpoints say of the training data besides the config: plain values, by name."""
        return {}

    # ---- Network ----

    @abc.abstractmethod
    def build_model(self, pretrained_text: bool) -> nn.Module:
        """The network on the CPU; see `mmn.modeling.build.build_model`."""

    @abc.abstractmethod
    def build_criterion(self) -> Callable[..., dict[str, Tensor]]:
        """(output, batch) -> the losses `vid`, `sent` and `iou`, unweighted."""

    # ---- Evaluation ----

    @abc.abstractmethod
    def predict(self, model: nn.Module, loader: DataLoader, device: torch.device) -> SentencePredictions:
        """The predictions for this process's share of a split."""

    def predict_with_maps(
        self, model: nn.Module, loader: DataLoader, device: torch.device, request: MapRequest
    ) -> SentencePredictions:
        """`predict`, which also writes score maps; called on all processes."""
        raise ConfigError(
            f"--dump-maps: MODEL.ARCHITECTURE {self.cfg.MODEL.ARCHITECTURE} has no score maps to write, leave it out"
        )

    @abc.abstractmethod
    def evaluate(self, predictions: SentencePredictions, dataset: Dataset) -> dict[str, float]:
        """Metrics of a split (shares) from each process's predictions; called on all processes."""

    @abc.abstractmethod
    def write_predictions(self, path: str, dataset: Dataset, predictions: SentencePredictions) -> None:
        """Write the merged predictions of a split."""
