"""The work of tools/ablate.py and tools/compare.py: from a config and rows of changes to finished runs and a table."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from mmn.apps.ablation.ablation_tables import RowScores, Table, load_figure
from mmn.apps.ablation.paired_scores import read_scores
from mmn.apps.ablation.resampling import Resampling
from mmn.apps.ablation.run_queue import CONSOLE_FILE, Failure, Run, Step, run_all, share_environments
from mmn.apps.ablation.sweep_rows import Row, describe_changes, folder_name, run_config
from mmn.config import get_cfg, load_config
from mmn.config.load import config_values, flat_values
from mmn.config.yaml_files import parse_yaml
from mmn.data.splits import Splits, split_names
from mmn.engine.output_dir import CHANGEABLE, refuse_other_config
from mmn.engine.run import path_of_split
from mmn.engine.tasks import find_task
from mmn.utils.checkpoint import CheckpointFolder
from mmn.utils.errors import ConfigError, UserError, failed_read
from mmn.utils.files import make_folder
from mmn.utils.program import program
from mmn.utils.text_files import read_text

TRAIN = "train"
SUMMARY = "summary"  # the table's files in the folder of all runs
NUM_FAILURES_LISTED = 20
# A training may go on with these changed, but what is compared must have had one value from beginning to end.
DECIDING = (
    "MODEL.MMN.TEXT_ENCODER.PRETRAINED",
    "SOLVER.INIT_WEIGHTS",
    "SOLVER.MAX_EPOCH",
    "SOLVER.TEST_PERIOD",
    "SOLVER.SKIP_TEST",
    "SOLVER.AMP",
    "SOLVER.TF32",
    "SOLVER.ACCUMULATE",
)


@dataclass(frozen=True)
class Sweep:
    """A study: what is to be run and where.

    Attributes:
        config_file, options: the base config of all runs, as a tool takes it.
        rows: the table's rows; the others are compared with the first.
        num_seeds: runs per row, with SOLVER.SEED of the config and the numbers after it.
        folder: the place of all runs and of the table.
        start: function that makes the words of a process from a command and its arguments, see `mmn.utils.program`.
    """

    config_file: str
    options: Sequence[str]
    rows: Sequence[Row]
    num_seeds: int
    folder: Path
    start: Callable[..., tuple[str, ...]] = program

    def __post_init__(self):
        if self.num_seeds < 1:
            raise ConfigError(f"--seeds is {self.num_seeds}: it must be at least 1")

    def base_config(self) -> CfgNode:
        return load_config(self.config_file, self.options)

    def seeds(self) -> list[int]:
        first = self.base_config().SOLVER.SEED
        return [first + number for number in range(self.num_seeds)]

    def runs(self) -> list[Run]:
        """Every training once, with the evaluations of all rows that share it, seed by seed, so that a sweep that is cut
        off has as many whole seeds as possible.

        Raises ConfigError or UserError, before anything has started, for the first row that cannot run.
        """
        runs: dict[Path, Run] = {}
        for seed in self.seeds():
            for row in self.rows:
                folder = self.run_folder(row, seed)
                if folder not in runs:
                    label = f"{describe_changes(row.training)}, seed {seed}"
                    runs[folder] = Run(label, folder, self._training(row, seed), [])
                evaluation = self._evaluation(row, seed)
                if evaluation not in runs[folder].evaluations:
                    runs[folder].evaluations.append(evaluation)
        return list(runs.values())

    def configs(self) -> Iterator[CfgNode]:
        """The config of each row, with the first seed."""
        return (self._config(row.changes, row, self.seeds()[0])[0] for row in self.rows)

    def run_folder(self, row: Row, seed: int) -> Path:
        return self.folder / folder_name(row.training) / f"seed_{seed}"

    def predictions(self, row: Row, seed: int) -> dict[str, Path]:
        """The prediction files of a row's run by test split."""
        cfg, _ = self._config(row.changes, row, seed)
        splits = split_names(cfg, "TEST")
        path = str(self.run_folder(row, seed) / row.predictions)
        return {split: Path(path_of_split(path, split, len(splits))) for split in splits}

    def _training(self, row: Row, seed: int) -> Step:
        cfg, pairs = self._config(row.training, row, seed)
        refuse_other_config(cfg, [key for key in CHANGEABLE if key not in DECIDING])
        checkpoint = CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME).epoch_path(cfg.SOLVER.MAX_EPOCH)
        command = self._command("train", "--skip-test", pairs=[*pairs, "SOLVER.RESUME", "True"])
        return Step(TRAIN, command, (Path(checkpoint),), *_fingerprints(cfg, self.run_folder(row, seed)))

    def _evaluation(self, row: Row, seed: int) -> Step:
        cfg, pairs = self._config(row.changes, row, seed)
        command = self._command("test", "--dump", str(self.run_folder(row, seed) / row.predictions), pairs=pairs)
        name = f"test, {describe_changes(row.evaluation)}" if row.evaluation else "test"
        products = tuple(self.predictions(row, seed).values())
        return Step(name, command, products, *_fingerprints(cfg, self.run_folder(row, seed)))

    def _config(self, changes: Sequence[tuple[str, str]], row: Row, seed: int) -> tuple[CfgNode, list[str]]:
        fixed = {"SOLVER.SEED": seed, "OUTPUT_DIR": self.run_folder(row, seed)}
        return run_config(self.config_file, self.options, changes, fixed, row.name)

    def _command(self, name: str, *flags: str, pairs: Sequence[str]) -> tuple[str, ...]:
        return self.start(name, "--config-file", self.config_file, *flags, *pairs)


def _fingerprints(cfg: CfgNode, folder: Path) -> tuple[str, str]:
    """The hash of a run's config that is written now, and the one that earlier versions of the program wrote.

    Values that are the default are left out, so that a key that a later version has makes no finished run begin again.
    Earlier versions hashed the whole config, with the keys that they knew: those in the config of the run's folder.
    """
    values, defaults = config_values(cfg), config_values(get_cfg())
    changed = {key: value for key, value in values.items() if value != defaults[key]}
    return _hash(json.dumps(changed, sort_keys=True, default=str)), _hash(_known_to(cfg, folder / "config.yml").dump())


def _known_to(cfg: CfgNode, config_file: Path) -> CfgNode:
    """The config without the keys that a file lacks and that have their default; the whole where there is no file.

    Raises UserError where the file is there and cannot be read.
    """
    try:
        known = flat_values(parse_yaml(read_text(str(config_file)), str(config_file)), str(config_file))
    except (FileNotFoundError, NotADirectoryError):  # no run
        return cfg
    except (OSError, UnicodeDecodeError, UserError) as error:
        raise UserError(
            f"the config of the run in {config_file.parent} is damaged ({failed_read(error)}): bring it back, or move the "
            "run away to have it done again"
        ) from error
    defaults, kept = config_values(get_cfg()), CfgNode()
    for key, value in config_values(cfg).items():
        if key not in known and value == defaults[key]:
            continue
        node = kept
        *sections, name = key.split(".")
        for section in sections:
            node = node.setdefault(section, CfgNode())
        node[name] = value
    return kept


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def ablate(
    sweep: Sweep, num_jobs: int, resampling: Resampling, with_figure: bool = True, log: Callable[[str], None] = print
) -> None:
    """Run what is not finished, `num_jobs` at a time (0: see `share_environments`), then write and show the tables.

    Raises UserError at the end, naming them, where runs have failed: the table then has what the others gave.
    """
    if with_figure:
        load_figure()
    runs, cfg = sweep.runs(), sweep.base_config()
    for varied in sweep.configs():
        task = find_task(varied)
        if not (task.finds_moments and task.has_training):
            raise ConfigError(
                "ablations train what finds moments of sentences, which MODEL.ARCHITECTURE "
                f"{varied.MODEL.ARCHITECTURE} does not"
            )
    splits = Splits(cfg)
    for split in {*splits.named("TRAIN"), *splits.named("TEST")}:
        find_task(cfg).check_files(cfg, split)
    make_folder(str(sweep.folder), "the folder of all runs")
    environments = share_environments(cfg.MODEL.DEVICE, num_jobs)
    log(f"{len(sweep.rows)} rows x {sweep.num_seeds} seeds: {len(runs)} trainings, {len(environments)} at a time")
    failures = run_all(runs, environments, log)
    by_folder = {run.folder: run for run in runs}
    for split in split_names(cfg, "TEST"):
        rows = _read_rows(sweep, split, by_folder, log)
        if rows:
            stem = SUMMARY if len(split_names(cfg, "TEST")) == 1 else f"{SUMMARY}_{split}"
            table = Table(f"{cfg.DATASETS.NAME} {split}".strip(), rows, resampling)
            show_table(table, str(sweep.folder / stem), with_figure, log)
    if failures:
        raise UserError(_describe_failures(failures, len(runs)))


def _read_rows(sweep: Sweep, split: str, runs: Mapping[Path, Run], log: Callable[[str], None]) -> list[RowScores]:
    """The rows of one split's table, from what has finished."""
    files = {}
    for row in sweep.rows:
        for seed in sweep.seeds():
            path = sweep.predictions(row, seed)[split]
            if not any(path in step.products for step in runs[sweep.run_folder(row, seed)].pending()):
                files[row.name, seed] = str(path)
    thresholds = Splits(sweep.base_config()).find(split).entry.thresholds
    scores = dict(zip(files, read_scores(list(files.values()), thresholds), strict=True))
    rows, trained = [], set()
    for row in sweep.rows:
        finished = {seed: scores[row.name, seed] for seed in sweep.seeds() if (row.name, seed) in scores}
        if not finished:
            log(f"row {row.name!r} has no finished run and is left out of the table")
            continue
        seconds = [runs[sweep.run_folder(row, seed)].seconds(TRAIN) for seed in finished]
        # A row that shares the training of an earlier one took none of its own.
        mean_seconds = None if row.training in trained else sum(seconds) / len(seconds)
        trained.add(row.training)
        rows.append(RowScores(row.name, finished, describe_changes(row.changes), sweep.num_seeds, mean_seconds))
    if rows and rows[0].name != sweep.rows[0].name:
        log(f"the differences are to {rows[0].name!r} in its place")
    return rows


def show_table(table: Table, stem: str | None, with_figure: bool, log: Callable[[str], None]) -> None:
    """Print a table as markdown and, with a `stem`, write its files."""
    log("\n" + table.markdown())
    if stem is not None:
        for path in table.write(stem, with_figure):
            log(f"wrote {path}")


def _describe_failures(failures: Sequence[Failure], num_runs: int) -> str:
    shown = "; ".join(f"{failure.run.label} ({failure.words})" for failure in failures[:NUM_FAILURES_LISTED])
    more = "; ..." if len(failures) > NUM_FAILURES_LISTED else ""
    return (
        f"{len(failures)} of {num_runs} runs failed: {shown}{more}: see {CONSOLE_FILE} in "
        f"{failures[0].run.folder}; the same command tries them again"
    )


def compare_files(
    groups: Sequence[Sequence[str]],
    thresholds: Sequence[float],
    resampling: Resampling,
    stem: str | None = None,
    with_figure: bool = True,
    truth: str | None = None,
    missing_as_wrong: bool = False,
    log: Callable[[str], None] = print,
) -> None:
    """Show the table of `ablate`, made from prediction files.

    Args:
        groups: rows of files; rows with as many files are paired file by file, in the order given.
        stem: write `<stem>.md`, `.csv` and `.png`.
        truth, missing_as_wrong: as for `mmn.evaluation.prediction_file.read_predictions`.
    """
    if len(groups) < 2 or not all(groups):
        raise UserError(
            "there is nothing to compare: give two prediction files, or groups of them with `vs` in between"
        )
    if stem is not None and with_figure:
        load_figure()
    scores = read_scores([path for group in groups for path in group], thresholds, truth, missing_as_wrong)
    rows, names = [], _group_names(groups)
    sizes = [len(group) for group in groups]
    for name, size, first in zip(names, sizes, [sum(sizes[:number]) for number in range(len(sizes))], strict=True):
        # Rows of another size than the first have no seed in common with it: they are not paired.
        seeds = range(size) if size == sizes[0] else [f"{name} {number}" for number in range(size)]
        rows.append(RowScores(name, dict(zip(seeds, scores[first : first + size], strict=True)), num_wanted=size))
    show_table(Table("comparison", rows, resampling), stem, with_figure, log)


def _group_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """The part of the path that all files of a group have in common, short where that tells the groups apart."""
    names = [os.path.commonprefix(list(group)) if len(group) > 1 else group[0] for group in groups]
    short = [os.path.basename(name.rstrip("/_-")) or name for name in names]
    return (
        short if len(set(short)) == len(short) else [name or str(number) for number, name in enumerate(names, start=1)]
    )
