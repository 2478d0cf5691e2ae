"""The stages of a run, in order: start, train, test; or sweep, a test under many settings."""

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, Dataset
from yacs.config import CfgNode

from mmn.config import load_config, validate
from mmn.config.validate import untrained_score
from mmn.data import build_test_loader, build_train_loader
from mmn.data.splits import Split, Splits
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.feature_recipes import check_recipes, checkpoint_recipe, training_recipe
from mmn.engine.machine_errors import machine_errors_explained
from mmn.engine.output_dir import prepare_output_dir
from mmn.engine.own_text_encoder import options_of_name
from mmn.engine.precision import refuse_compilation, set_deterministic, set_tf32
from mmn.engine.starting_point import find_starting_point
from mmn.engine.tasks import Task, find_task
from mmn.engine.trainer import Trainer
from mmn.engine.update import WeightUpdate
from mmn.evaluation.inference import predict
from mmn.evaluation.map_file import MapRequest, predict_with_maps
from mmn.evaluation.metrics_file import SplitMetrics, write_metrics
from mmn.evaluation.moment_metrics import prediction_records
from mmn.evaluation.qvhighlights_file import format_brief, write_official
from mmn.evaluation.recall import VALIDATION_LOSS, format_table, title_of
from mmn.evaluation.score_sweep import SweepRanker, check_sweep_file, format_sweep, sweep_grid, write_sweep
from mmn.evaluation.split_metrics import METRIC_KINDS, as_lines
from mmn.evaluation.validation_loss import LossRecorder
from mmn.solver import build_average
from mmn.utils import comm
from mmn.utils.checkpoint import CheckpointFolder, load_checkpoint, load_weights
from mmn.utils.errors import CheckpointError, ConfigError, UserError
from mmn.utils.files import FolderLock
from mmn.utils.logger import get_logger, setup_logger
from mmn.utils.memory import reuse_freed_memory
from mmn.utils.preemption import die_with_the_launcher
from mmn.utils.seed import seed_everything
from mmn.utils.version import VERSION
from mmn.utils.weight_hash import weights_sha256

_locks: list[FolderLock | None] = []  # held until the process ends


def start_run(
    config_file: str, options: Sequence[str], training: bool, ckpt: str | None = None
) -> tuple[CfgNode, torch.device]:
    """Config, device, process group, output folder, log and seed. Returns the config and this process's device.

    Args:
        ckpt: the checkpoint to be tested: a model folder's own text encoder takes the place of the config file's.
    """
    cfg = load_config(config_file, [*options_of_name(ckpt), *options])
    validate(cfg, int(os.environ.get("WORLD_SIZE", "1")), training)
    find_task(cfg)  # refuses values that its architecture cannot use
    device = comm.choose_device(cfg.MODEL.DEVICE, "MODEL.DEVICE")
    refuse_compilation(cfg, device)
    die_with_the_launcher()
    set_deterministic(cfg.SOLVER.DETERMINISTIC)
    comm.init_process_group(device, cfg.SOLVER.TIMEOUT_MINUTES)
    if training:
        _locks.append(prepare_output_dir(cfg))
    logger = setup_logger(cfg.OUTPUT_DIR if training else None, comm.get_rank())
    logger.info("%s, %d processes, device %s", _versions(), comm.get_world_size(), device)
    logger.info("config %s %s", config_file, " ".join(options))
    transformers.logging.disable_progress_bar()
    seed_everything(cfg.SOLVER.SEED)
    if device.type == "cpu":
        reuse_freed_memory()
    else:
        set_tf32(cfg.SOLVER.TF32)
    return cfg, device


def _versions() -> str:
    python = platform.python_version()
    return f"mmn {VERSION}, torch {torch.__version__}, transformers {transformers.__version__}, Python {python}"


def train(cfg: CfgNode, device: torch.device, partial: bool = False, will_test: bool = True) -> None:
    """Train from scratch, from INIT_WEIGHTS, or from where OUTPUT_DIR's last checkpoint stopped.

    Args:
        will_test: whether `test` follows; then the files of the test splits are looked at before training.
        partial: load of INIT_WEIGHTS what fits the model; the rest starts as in a run without them.
    """
    task = find_task(cfg)
    if not task.has_training:
        task.build_criterion(cfg)  # says so
    if warning := untrained_score(cfg):
        get_logger().warning(warning)
    splits = Splits(cfg)
    tested = splits.named("TEST") if will_test else []
    for split in tested:
        task.check_files(cfg, split)
    with machine_errors_explained(cfg, "SOLVER.BATCH_SIZE"):
        _build_trainer(task, cfg, device, partial, splits, tested).train()


def _build_trainer(
    task: Task, cfg: CfgNode, device: torch.device, partial: bool, splits: Splits, tested: Sequence[Split]
) -> Trainer:
    """The run of a config, up to where it starts or goes on. Called on all processes.

    Args:
        tested: the splits that the trained network is going to be tested on.
    """
    start = find_starting_point(cfg)
    checkpoint, tokenizer = start.load(), task.build_tokenizer(cfg)
    began = time.perf_counter()
    trained, validated = splits.named("TRAIN"), _validation_split(splits)
    datasets = [_labelled_dataset(task, cfg, split, tokenizer) for split in trained]
    loader = build_train_loader(cfg, datasets, task.build_collator(cfg, tokenizer))
    labelled = _labelled_dataset(task, cfg, validated, tokenizer)
    validation = build_test_loader(cfg, labelled, task.build_collator(cfg, tokenizer))
    recipe = training_recipe(task, cfg, trained, [validated, *tested], checkpoint, start.source, start.resumes)
    seconds = time.perf_counter() - began
    get_logger().info("data ready after %.1f s: %d training samples", seconds, len(loader.dataset))

    model = _build_model(task, cfg, device, checkpoint, start.source, partial and not start.resumes)
    optimizer = task.training.build_optimizer(cfg, model)
    criterion, average = task.build_criterion(cfg), build_average(cfg, model)
    ranker, losses = task.build_ranker(cfg), task.build_sentence_losses(cfg)

    def evaluate(network: nn.Module) -> dict[str, float]:
        if losses is None:
            return task.evaluate(predict(network, validation, ranker, device), labelled)
        recorder = LossRecorder(ranker, losses)
        metrics = task.evaluate(predict(network, validation, recorder, device), labelled)
        return {**metrics, VALIDATION_LOSS: recorder.mean_of_batches(cfg.TEST.BATCH_SIZE)}

    trainer = Trainer(
        cfg,
        WeightUpdate(cfg, task.training, model, criterion, optimizer, device, average),
        task.training.build_scheduler(cfg, optimizer),
        loader,
        evaluate,
        {**task.training_facts(datasets), **recipe},
    )
    if start.resumes:
        trainer.resume(checkpoint)
    return trainer


def _validation_split(splits: Splits) -> Split:
    """The split on which the best checkpoint is picked."""
    if splits.cfg.DATASETS.VAL:
        return splits.named("VAL")[0]
    split = splits.named("TEST")[0]
    get_logger().info("the best checkpoint is picked on %s, as released; DATASETS.VAL names another split", split.name)
    return split


def _labelled_dataset(task: Task, cfg: CfgNode, split: Split, tokenizer: QueryTokenizer) -> Dataset:
    """A split to train on, or to pick the best checkpoint on."""
    dataset = task.build_dataset(cfg, split, tokenizer)
    if not dataset.has_truth:
        raise ConfigError(
            f"the split {split.name} has sentences without their truth, which training needs: name other splits in "
            "DATASETS.TRAIN, and in DATASETS.VAL for picking the best checkpoint"
        )
    return dataset


def _build_model(
    task: Task, cfg: CfgNode, device: torch.device, checkpoint: dict | None, source: str | None, partial: bool
) -> nn.Module:
    """The network on `device`, with the weights of a checkpoint where there is one; `source` is its file."""
    with_pretrained_text = checkpoint is None or partial
    model = task.build_model(cfg, with_pretrained_text)
    if checkpoint is not None:
        load_weights(model, task.rename_weights(cfg, checkpoint["model"], str(source)), source, partial)
        get_logger().info("loaded %s", source)
    return model.to(device)


def load_model(
    cfg: CfgNode, device: torch.device, splits: Sequence[Split], ckpt: str | None = None, partial: bool = False
) -> nn.Module:
    """The network of a config on `device`, with the weights of a checkpoint.

    Args:
        splits: the splits that it is going to meet, whose features must be of the kind that it was trained on.
        ckpt, partial: see `test`.
    """
    task = find_task(cfg)
    if not task.has_training and ckpt is None:
        return _build_model(task, cfg, device, None, None, partial=False)
    path = comm.agreed(
        ckpt or CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME).find(),
        f"the processes see different checkpoints in OUTPUT_DIR {cfg.OUTPUT_DIR}",
    )
    checkpoint = load_checkpoint(path)
    architecture = checkpoint.get("architecture", cfg.MODEL.ARCHITECTURE)
    if architecture != cfg.MODEL.ARCHITECTURE:
        raise CheckpointError(
            f"{path} is of MODEL.ARCHITECTURE {architecture}, but the config of {cfg.MODEL.ARCHITECTURE}: give the "
            "config it was trained with"
        )
    check_recipes(task, cfg, splits, checkpoint_recipe(checkpoint, path), path)
    return _build_model(task, cfg, device, checkpoint, path, partial)


def test(
    cfg: CfgNode,
    device: torch.device,
    ckpt: str | None = None,
    dump: str | None = None,
    partial: bool = False,
    map_request: MapRequest | None = None,
    metrics_out: str | None = None,
    metrics: str | None = None,
    official_out: str | None = None,
) -> None:
    """Evaluate a checkpoint on every test split and print the tables; a split without truth has none.

    Args:
        ckpt: a file, a model folder or a name on the hub; None takes the best, else the last checkpoint of OUTPUT_DIR.
        dump: write the predictions there, in the task's format; with several test splits, one file per split.
        partial: load what fits the model, and say what does not.
        map_request: also write the score maps; with several test splits, one file per split.
        metrics_out: also write a metrics file (`mmn.evaluation.metrics_file`) of all splits that have truth; it is there
            after the first one, and again after each.
        metrics: a key of METRIC_KINDS; None takes those of each split's catalog entry.
        official_out: file for metrics beyond recall; with several test splits, one file per split. None writes
            `<split>_official_metrics.json` into OUTPUT_DIR.
    """
    task, splits = find_task(cfg), Splits(cfg).named("TEST")
    kinds = [metrics or split.entry.metrics for split in splits]
    _refuse_unfit_files(cfg, task, kinds, map_request, official_out)
    model, found = load_model(cfg, device, splits, ckpt, partial), []
    weights = weights_sha256(model.state_dict()) if metrics_out is not None and comm.get_rank() == 0 else None
    for split, kind, loader in zip(splits, kinds, _test_loaders(task, cfg, splits), strict=True):
        name, maps = split.name, None
        if map_request is not None:
            maps = replace(map_request, path=path_of_split(map_request.path, name, len(splits)))
        files = TestFiles(
            path_of_split(dump, name, len(splits)),
            maps,
            path_of_split(official_out, name, len(splits))
            or os.path.join(cfg.OUTPUT_DIR, f"{name}_official_metrics.json"),
        )
        with machine_errors_explained(cfg, "TEST.BATCH_SIZE"):
            shares = _test_split(task, cfg, device, model, loader, split, kind, files)
        if shares is not None:
            counts = loader.dataset.num_videos, loader.dataset.num_sentences
            found.append(SplitMetrics(name, cfg.DATASETS.NAME, *counts, shares))
        if weights is not None:
            write_metrics(metrics_out, weights, cfg.TEST, found)
            get_logger().info("wrote %s", metrics_out)


def _refuse_unfit_files(
    cfg: CfgNode, task: Task, metrics: Sequence[str], map_request: MapRequest | None, official_out: str | None
) -> None:
    """Raise ConfigError where files or metrics are asked for that a test with these `metrics` of its splits has not."""
    beyond_recall = [name for name in metrics if METRIC_KINDS[name].report is not None]
    if official_out is not None and not beyond_recall:
        raise ConfigError(
            f"--official-out {official_out}: all splits are scored by recall, which has no file of its own: leave it out, "
            "write the recall by --metrics-out, or name other --metrics"
        )
    if task.finds_moments:
        return
    if map_request is not None:
        raise ConfigError(
            f"--dump-maps: MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE} has no score maps to write, leave it out"
        )
    if beyond_recall:
        raise ConfigError(
            f"--metrics {beyond_recall[0]} is for moments, not for MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE}"
        )


def _test_loaders(task: Task, cfg: CfgNode, splits: Sequence[Split]) -> Iterator[DataLoader]:
    """A loader for each split, made when it is asked for."""
    tokenizer = task.build_tokenizer(cfg)
    for split in splits:
        dataset = task.build_dataset(cfg, split, tokenizer)
        yield build_test_loader(cfg, dataset, task.build_collator(cfg, tokenizer))


def path_of_split(path: str | None, split: str, num_splits: int) -> str | None:
    """The file of a split: `path` itself, or one name per split where there are several."""
    if path is None or num_splits == 1:
        return path
    stem, extension = os.path.splitext(path)
    return f"{stem}_{split}{extension}"


class TestFiles(NamedTuple):
    """Files that the test of a split writes.

    Attributes:
        dump: predictions; None for none.
        maps: score maps; None for none.
        official: metrics beyond recall, where the split has such.
    """

    dump: str | None
    maps: MapRequest | None
    official: str


def _test_split(
    task: Task,
    cfg: CfgNode,
    device: torch.device,
    model: nn.Module,
    loader: DataLoader,
    split: Split,
    metrics: str,
    files: TestFiles,
) -> dict[str, float] | None:
    """Predict one split, write what is asked for, and print its tables -> its metrics, where it has truth."""
    dataset, ranker, kind = loader.dataset, task.build_ranker(cfg), METRIC_KINDS[metrics]
    if not dataset.has_truth and files.dump is None:
        raise UserError(f"the split {dataset.name} has no truth to score predictions by: give --dump to write them")
    if kind.report is not None:
        ranker.keeps_clip_scores = kind.needs_clip_scores
        if dataset.has_truth:
            kind.check(split.entry.annotation)
    start = time.perf_counter()
    if files.maps is None:
        predictions = predict(model, loader, ranker, device)
    else:
        predictions = predict_with_maps(model, loader, ranker, device, files.maps, cfg.MODEL.MMN.FEAT2D.POOLING_COUNTS)
    shares = task.evaluate(predictions, dataset) if dataset.has_truth else None
    seconds = time.perf_counter() - start
    get_logger().info("%s: %d sentences in %.1f s", dataset.name, dataset.num_sentences, seconds)
    merged = predictions.merge() if files.dump is not None or kind.report is not None else None
    if comm.get_rank() != 0:
        return shares
    if files.dump is not None:
        task.write_predictions(files.dump, dataset, merged)
        get_logger().info("wrote %s", files.dump)
    if shares is not None:
        print(format_table(shares, _title(cfg, task, dataset)), flush=True)
    if shares is not None and kind.report is not None:
        lines = as_lines(prediction_records(dataset, merged))
        report = kind.report(lines, f"the predictions for {dataset.name}", split.entry.annotation)
        print(format_brief(report, _title(cfg, task, dataset)), flush=True)
        write_official(files.official, report)
        get_logger().info("wrote %s", files.official)
    return shares


def sweep(
    cfg: CfgNode,
    device: torch.device,
    settings: Sequence[str],
    ckpt: str | None = None,
    out: str | None = None,
    partial: bool = False,
) -> None:
    """Evaluate a checkpoint on every test split under every combination of settings, with one forward pass per split.

    Args:
        settings: KEY=V1,V2 each, see `mmn.evaluation.score_sweep.sweep_grid`.
        ckpt, partial: see `test`.
        out: write the rows of the table there, as csv or json; with several test splits, one file per split.
    """
    task, splits = find_task(cfg), Splits(cfg).named("TEST")
    if not task.finds_moments:
        raise ConfigError(
            f"--sweep is for moments, whose scores are ranked under each setting, not for MODEL.ARCHITECTURE "
            f"{cfg.MODEL.ARCHITECTURE}: leave it out"
        )
    if out is not None:
        check_sweep_file(out)
    grid = sweep_grid(cfg, settings)
    for _, varied in grid:
        validate(varied, comm.get_world_size(), training=False)
    model = load_model(cfg, device, splits, ckpt, partial)
    for loader in _test_loaders(task, cfg, splits):
        with machine_errors_explained(cfg, "TEST.BATCH_SIZE"):
            rows = _sweep_split(task, device, model, loader, grid)
        if comm.get_rank() == 0:
            name = loader.dataset.name
            if out is not None:
                path = path_of_split(out, name, len(splits))
                write_sweep(path, rows)
                get_logger().info("wrote %s", path)
            print(format_sweep(rows, list(grid[0][0]), _title(cfg, task, loader.dataset)), flush=True)


def _sweep_split(
    task: Task,
    device: torch.device,
    model: nn.Module,
    loader: DataLoader,
    grid: Sequence[tuple[dict[str, object], CfgNode]],
) -> list[dict[str, object]]:
    """The swept values and the metrics of one split, a row for each setting."""
    ranker = SweepRanker([task.build_ranker(varied) for _, varied in grid])
    predictions = predict(model, loader, ranker, device)
    return [
        {**values, **task.evaluate(found, loader.dataset)} for (values, _), found in zip(grid, predictions, strict=True)
    ]


def _title(cfg: CfgNode, task: Task, dataset: Dataset) -> str:
    """The title of a split's table."""
    counts = dataset.num_videos, dataset.num_sentences
    return title_of(f"{cfg.DATASETS.NAME} {dataset.name}".strip(), *counts, task.comparison)
