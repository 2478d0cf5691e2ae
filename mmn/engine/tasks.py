"""Architectures as the engine sees them: what each one means by a split, a network, losses and predictions.

Training, checkpoints, processes and resuming are the same for all. A new architecture is one more record in TASKS.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from torch import Tensor, nn
from torch.utils.data import Dataset
from yacs.config import CfgNode

from mmn.data import loaders, moment_files, tokenizer, tube_files
from mmn.data.collate import Collator
from mmn.data.dataset import MomentDataset, summarise_durations
from mmn.data.glove import WordTokenizer, build_word_tokenizer, check_glove
from mmn.data.sentence_dataset import SentenceCollator, SentenceDataset
from mmn.data.splits import Split
from mmn.data.tokenizer import QueryTokenizer
from mmn.data.tube_dataset import TubeCollator, TubeDataset
from mmn.evaluation import moment_metrics, tube_metrics
from mmn.evaluation.inference import MomentRanker, Ranker, SentencePredictions
from mmn.evaluation.tan2d_metrics import MapRanker, evaluate_exactly
from mmn.evaluation.tube_metrics import TubeRanker
from mmn.modeling.build import (
    build_criterion,
    build_dual_encoder,
    build_map_criterion,
    build_model,
    build_proposal_cells,
    build_tan2d,
    build_tube_criterion,
    build_tube_featpool,
)
from mmn.modeling.tan2d_weights import official_names
from mmn.solver import MAP_RECIPE, MATCHING_RECIPE, TrainingRecipe
from mmn.structures.recipe import TracksRecipe
from mmn.utils.errors import ConfigError, unknown_choice


def any_config(cfg: CfgNode) -> None:
    """Accept every config, for architectures that can use all values that `mmn.config.validate` lets pass."""


def no_recipe(cfg: CfgNode, split: Split) -> TracksRecipe | None:
    """None, for feature files that do not say how they were made."""
    return None


def no_facts(datasets: Sequence[Dataset]) -> dict[str, object]:
    """{}, for training data about which checkpoints say nothing beyond the config."""
    return {}


def same_names(cfg: CfgNode, weights: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
    """Weights as they are, where no other program has names of its own for them."""
    return weights


def no_sentence_losses(cfg: CfgNode) -> None:
    """None, where no schedule follows a validation loss."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Description of one architecture, all of it functions of the config.

    Datasets have `name`, `num_videos`, `num_sentences` and `has_truth`; batches are
    `mmn.structures.batch.Batch`.

    Attributes:
        check_config: raises ConfigError for values that `mmn.config.validate` lets pass but this architecture cannot use.
        check_files: raises DataError unless the split can be tested on; before a training that ends with its table.
        split_problems: one sentence per problem of a split's files; every video is looked at.
        write_clip_file: resamples the split's features into DATALOADER.CACHE_DIR.
        build_tokenizer: from a sentence to what the network's text encoder takes.
        build_dataset: the split, its files checked.
        build_collator: from samples of the dataset to a batch.
        feature_recipe: the split's feature tracks and how they were made, where its entry and files say so.
        training_facts: facts that checkpoints say of the training splits besides the config: plain values, by name.
        build_model: the network on the CPU; the flag is `pretrained_text`, see `mmn.modeling.build.build_model`.
        rename_weights: weights of a checkpoint, by the names of whatever program, -> by ours; the text names the file.
        build_criterion: (output, batch) -> losses by name, unweighted.
        build_sentence_losses: (output, batch) -> the loss of each sentence [S], for a validation loss; or None.
        training: optimizer, schedule, phases and the sum of the losses.
        has_training: False for a network whose pretrained parts are all of it: it is tested without a checkpoint.
        build_ranker: from the network's output to predictions.
        evaluate: metrics of a split (shares) from each process's predictions for its share; called on all processes.
        write_predictions: writes the merged predictions of a split.
        comparison: sign between an IoU and a threshold, by which `evaluate` tells a hit: ">=" or ">".
        finds_moments: whether these are ranked moments of sentences, in a file of `mmn.evaluation.prediction_file`.
    """

    check_config: Callable[[CfgNode], None] = any_config
    # Data
    check_files: Callable[[CfgNode, Split], None]
    split_problems: Callable[[CfgNode, Split], Iterator[str]]
    write_clip_file: Callable[[CfgNode, Split], None]
    build_tokenizer: Callable[[CfgNode], QueryTokenizer] = tokenizer.build_tokenizer
    build_dataset: Callable[[CfgNode, Split, QueryTokenizer], Dataset]
    build_collator: Callable[[CfgNode, QueryTokenizer], Collator]
    feature_recipe: Callable[[CfgNode, Split], TracksRecipe | None] = no_recipe
    training_facts: Callable[[Sequence[Dataset]], dict[str, object]] = no_facts
    # Network
    build_model: Callable[[CfgNode, bool], nn.Module]
    rename_weights: Callable[[CfgNode, Mapping[str, Tensor], str], Mapping[str, Tensor]] = same_names
    build_criterion: Callable[[CfgNode], Callable[..., dict[str, Tensor]]]
    build_sentence_losses: Callable[[CfgNode], Callable[..., Tensor] | None] = no_sentence_losses
    training: TrainingRecipe = MATCHING_RECIPE
    has_training: bool = True
    # Evaluation
    build_ranker: Callable[[CfgNode], Ranker]
    evaluate: Callable[[SentencePredictions, Dataset], dict[str, float]]
    write_predictions: Callable[[str, Dataset, SentencePredictions], None]
    comparison: str = ">="
    finds_moments: bool = True


# ---- MMN: the moment (start, end) of every sentence of a video -------------------------------------------------------


def build_moment_ranker(cfg: CfgNode) -> MomentRanker:
    """Scores to ranked moments, as TEST says."""
    test, cells = cfg.TEST, build_proposal_cells(cfg)
    return MomentRanker(
        cells, test.NMS_THRESH, test.CONTRASTIVE_SCORE_POW, test.NUM_PREDICTIONS, test.SCORE, test.CONTRASTIVE_RULE
    )


def moment_facts(datasets: Sequence[MomentDataset]) -> dict[str, object]:
    return {"train_durations": summarise_durations(datasets)}


MMN_TASK = Task(
    check_files=moment_files.check_files,
    split_problems=moment_files.split_problems,
    write_clip_file=moment_files.write_clip_file,
    build_dataset=moment_files.build_dataset,
    build_collator=loaders.build_collator,
    feature_recipe=moment_files.feature_recipe,
    training_facts=moment_facts,
    build_model=build_model,
    build_criterion=build_criterion,
    build_ranker=build_moment_ranker,
    evaluate=moment_metrics.evaluate,
    write_predictions=moment_metrics.write_predictions,
)


# ---- ZERO_SHOT: the same moments, by a dual encoder that was never trained to find them ------------------------------


def nothing_to_train(cfg: CfgNode) -> NoReturn:
    raise ConfigError(
        "MODEL.ARCHITECTURE ZERO_SHOT has nothing to train: test it (tools/test_net.py), or train an MMN that starts as a "
        "dual encoder (docs/ZERO_SHOT.md)"
    )


ZERO_SHOT_TASK = replace(MMN_TASK, build_model=build_dual_encoder, build_criterion=nothing_to_train, has_training=False)


# ---- STVG: which person of HC-STVG, and from which frame to which (SPEC section 8) -----------------------------------


def check_tube_config(cfg: CfgNode) -> None:
    count = cfg.MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL
    if count != 1:
        raise ConfigError(
            f"MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL is {count}, but a sentence of HC-STVG has one positive: set it to 1"
        )


def build_tube_dataset(cfg: CfgNode, split: Split, tokenizer: QueryTokenizer) -> TubeDataset:
    return tube_files.build_tube_dataset(cfg, split, build_proposal_cells(cfg), tokenizer)


def build_tube_collator(cfg: CfgNode, tokenizer: QueryTokenizer) -> Collator:
    return loaders.build_collator(cfg, tokenizer, TubeCollator)


def build_tube_model(cfg: CfgNode, pretrained_text: bool) -> nn.Module:
    return build_model(cfg, pretrained_text, build_tube_featpool)


def build_tube_ranker(cfg: CfgNode) -> TubeRanker:
    return TubeRanker(build_proposal_cells(cfg))


STVG_TASK = Task(
    check_config=check_tube_config,
    check_files=tube_files.check_tube_files,
    split_problems=tube_files.tube_problems,
    write_clip_file=tube_files.write_tube_clip_file,
    build_dataset=build_tube_dataset,
    build_collator=build_tube_collator,
    feature_recipe=tube_files.tube_recipe,
    build_model=build_tube_model,
    build_criterion=build_tube_criterion,
    build_ranker=build_tube_ranker,
    evaluate=tube_metrics.evaluate_tubes,
    write_predictions=tube_metrics.write_tube_predictions,
    comparison=tube_metrics.COMPARISON,
    finds_moments=False,
)


# ---- TAN2D: the moment of every sentence by 2D-TAN, whose unit is a sentence with its video (SPEC section 10) ----------


def check_tan2d_config(cfg: CfgNode) -> None:
    pool, stride = cfg.MODEL.MMN.FEATPOOL, cfg.INPUT.NUM_PRE_CLIPS // cfg.MODEL.MMN.NUM_CLIPS
    if stride != pool.KERNEL_SIZE:
        raise ConfigError(
            f"MODEL.MMN.FEATPOOL.KERNEL_SIZE is {pool.KERNEL_SIZE}, but 2D-TAN pools by INPUT.NUM_PRE_CLIPS // NUM_CLIPS "
            f"clips: set it to {stride}"
        )
    check_glove(cfg.MODEL.TAN2D.TEXT.GLOVE, cfg.MODEL.TAN2D.TEXT.EMBEDDING_SIZE)


def build_sentence_dataset(cfg: CfgNode, split: Split, tokenizer: WordTokenizer) -> SentenceDataset:
    return moment_files.build_dataset(cfg, split, tokenizer, SentenceDataset)


def build_sentence_collator(cfg: CfgNode, tokenizer: WordTokenizer) -> Collator:
    return loaders.build_collator(cfg, tokenizer, functools.partial(SentenceCollator, tokenizer.vectors))


def rename_tan2d_weights(cfg: CfgNode, weights: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
    return official_names(weights, source, cfg.MODEL.TAN2D.MASK_FUSION)


def build_map_sentence_losses(cfg: CfgNode) -> Callable[..., Tensor]:
    return build_map_criterion(cfg).sentence_losses


def build_map_ranker(cfg: CfgNode) -> MapRanker:
    return MapRanker(build_proposal_cells(cfg), cfg.TEST.NMS_THRESH, cfg.TEST.NUM_PREDICTIONS)


TAN2D_TASK = Task(
    check_config=check_tan2d_config,
    check_files=moment_files.check_files,
    split_problems=moment_files.split_problems,
    write_clip_file=moment_files.write_clip_file,
    build_tokenizer=build_word_tokenizer,
    build_dataset=build_sentence_dataset,
    build_collator=build_sentence_collator,
    feature_recipe=moment_files.feature_recipe,
    training_facts=moment_facts,
    build_model=build_tan2d,
    rename_weights=rename_tan2d_weights,
    build_criterion=build_map_criterion,
    build_sentence_losses=build_map_sentence_losses,
    training=MAP_RECIPE,
    build_ranker=build_map_ranker,
    evaluate=evaluate_exactly,
    write_predictions=moment_metrics.write_predictions,
    comparison=">",
)


TASKS = {"MMN": MMN_TASK, "ZERO_SHOT": ZERO_SHOT_TASK, "STVG": STVG_TASK, "TAN2D": TAN2D_TASK}  # by MODEL.ARCHITECTURE


def find_task(cfg: CfgNode) -> Task:
    """The task of MODEL.ARCHITECTURE. Raises ConfigError where there is none, or the config does not suit it."""
    name = cfg.MODEL.ARCHITECTURE
    if name not in TASKS:
        raise unknown_choice("MODEL.ARCHITECTURE", name, TASKS)
    TASKS[name].check_config(cfg)
    return TASKS[name]
