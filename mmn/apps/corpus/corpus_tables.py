"""The corpus benchmark of a config: what tools/evaluate_corpus.py calls."""

import glob
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from terminaltables import AsciiTable
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mmn.apps.ablation.ablation_tables import RowScores, Table
from mmn.apps.ablation.resampling import Resampling
from mmn.apps.ablation.significance import compare_rows, mean_and_deviation
from mmn.apps.corpus.corpus_prior import score_prior
from mmn.apps.corpus.corpus_recall import (
    RECALL_RANKS,
    THRESHOLDS,
    Answers,
    CorpusScores,
    Listing,
    encode_split,
    find_answers,
    rank_corpus,
    rank_names,
    recall_names,
    score_ranks,
)
from mmn.apps.corpus.evaluated_rules import EVALUATED
from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO, RankingRule
from mmn.data import build_test_loader
from mmn.data.annotations import VideoAnnotation
from mmn.data.moment_files import check_searchable, read_split
from mmn.data.splits import Split, Splits
from mmn.engine.machine_errors import machine_errors_explained
from mmn.engine.run import load_model, path_of_split
from mmn.engine.tasks import MMN_TASK, Task, find_task
from mmn.modeling import build_proposal_cells
from mmn.utils import comm
from mmn.utils.errors import CheckpointError, ConfigError, nearest
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger
from mmn.utils.markdown import MISSING, markdown_table
from mmn.utils.paths import expand_user

PRIOR = "prior (no query, no video)"
FORMATS = (".md", ".json")
COMPARED_RANKS = (1, 10)  # of the table of differences, which with all would be too wide to read


@dataclass(frozen=True)
class Training:
    """One way of training, evaluated together: its name, and the checkpoints of its seeds (None: that of OUTPUT_DIR)."""

    name: str
    checkpoints: Sequence[str | None]


@dataclass(frozen=True)
class CorpusTable:
    """The measurements on one split.

    Attributes:
        title: heading of the tables.
        facts: sentences on what was searched, in order.
        rows: name -> the scores of each seed; the differences are to the first row, the last is the prior.
        resampling: settings of the intervals.
    """

    title: str
    facts: Sequence[str]
    rows: Mapping[str, Sequence[CorpusScores]]
    resampling: Resampling


def evaluate_corpus(
    cfg: CfgNode,
    device: torch.device,
    trainings: Sequence[Training],
    rules: Sequence[RankingRule],
    resampling: Resampling,
    per_video: int = DEFAULT_PER_VIDEO,
    out: str | None = None,
) -> None:
    """Rank every query of each test split against the moments of all its videos; print the tables, and write them.

    Args:
        rules: the first is what the others are compared with, within each training.
        out: .md or .json; with several test splits, one file per split.
    """
    task = _checked_task(cfg, per_video, out)
    listing = Listing(cfg.TEST.CONTRASTIVE_SCORE_POW, cfg.TEST.NMS_THRESH, per_video)
    splits, tokenizer = Splits(cfg), task.build_tokenizer(cfg)
    tested = splits.named("TEST")
    for split in tested:
        check_searchable(split)
    for split in tested:
        dataset = task.build_dataset(cfg, split, tokenizer)
        loader = build_test_loader(cfg, dataset, task.build_collator(cfg, tokenizer))
        rows: dict[str, list[CorpusScores]] = {}
        for training in trainings:
            for checkpoint in training.checkpoints:
                scores = _score_checkpoint(cfg, device, split, loader, checkpoint, rules, listing)
                for rule, score in scores.items():
                    rows.setdefault(_row_name(training, rule, trainings), []).append(score)
        rows[PRIOR] = [_score_prior(cfg, splits.named("TRAIN"), dataset.videos, listing)]
        title = f"{cfg.DATASETS.NAME} {split.name}".strip()
        facts = describe(find_answers(dataset.videos), len(dataset), len(build_proposal_cells(cfg)), rows, listing)
        table = CorpusTable(title, facts, rows, resampling)
        print(format_corpus(table), flush=True)
        path = path_of_split(out, split.name, len(tested))
        if path is not None:
            write_corpus(path, table)
            get_logger().info("wrote %s", path)


def _checked_task(cfg: CfgNode, per_video: int, out: str | None) -> Task:
    task = find_task(cfg)
    if task is not MMN_TASK:
        raise ConfigError(
            f"a corpus is searched for moments of sentences, which MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE} does not "
            "find: give a config of MMN"
        )
    if comm.get_world_size() > 1:
        raise ConfigError(
            "a corpus is evaluated by one process, since its queries meet all videos: do without torchrun"
        )
    if per_video < 1:
        raise ConfigError(f"--per-video is {per_video}: it must be at least 1")
    if out is not None and not out.endswith(FORMATS):
        raise ConfigError(f"--out {out} must end in {' or '.join(FORMATS)}, which says its format: rename it")
    return task


def parse_training(text: str) -> Training:
    """[NAME=]FILE or a pattern of several, the seeds of one way of training -> what it stands for.

    Raises CheckpointError where a pattern fits no file.
    """
    name, equals, pattern = text.partition("=")
    if not equals or "/" in name:
        name = pattern = text
    pattern = expand_user(pattern)
    files = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
    if not files:
        raise CheckpointError(f"--ckpt {text}: no file is like {pattern}, correct the pattern")
    return Training(name, files)


def find_rules(names: Sequence[str]) -> list[RankingRule]:
    """The rules of these names. Raises ConfigError for an unknown name, and where one comes twice."""
    for name in names:
        if name not in EVALUATED:
            raise ConfigError(f"there is no rule {name!r} to rank moments by{nearest(name, list(EVALUATED))}")
        if names.count(name) > 1:
            raise ConfigError(f"--rules names {name} twice: leave one out")
    return [EVALUATED[name] for name in names]


def _row_name(training: Training, rule: str, trainings: Sequence[Training]) -> str:
    return rule if len(trainings) == 1 else f"{training.name}: {rule}"


def _score_checkpoint(
    cfg: CfgNode,
    device: torch.device,
    split: Split,
    loader: DataLoader,
    checkpoint: str | None,
    rules: Sequence[RankingRule],
    listing: Listing,
) -> dict[str, CorpusScores]:
    model = load_model(cfg, device, [split], checkpoint)
    cells, start = build_proposal_cells(cfg), time.perf_counter()
    with machine_errors_explained(cfg, "TEST.BATCH_SIZE"):
        corpus, queries = encode_split(model, loader, cells, device)
        encoded = time.perf_counter()
        ranks = rank_corpus(corpus, queries, rules, listing)
    get_logger().info(
        "%s: %d moments encoded in %.1f s, %d queries ranked under %d rules in %.1f s",
        *(split.name, corpus.num_moments, encoded - start),
        *(len(queries), len(ranks), time.perf_counter() - encoded),
    )
    return {name: score_ranks(rank) for name, rank in ranks.items()}


def _score_prior(
    cfg: CfgNode, trained: Sequence[Split], videos: Sequence[VideoAnnotation], listing: Listing
) -> CorpusScores:
    train = [video for split in trained for video in read_split(cfg, split)]
    return score_prior(train, videos, find_answers(videos), build_proposal_cells(cfg), listing)


# ---- Tables ----------------------------------------------------------------------------------------------------------


def describe(
    answers: Answers, num_videos: int, num_cells: int, rows: Mapping[str, Sequence[CorpusScores]], listing: Listing
) -> list[str]:
    """Sentences that a reader has to know about the split and the lists."""
    counts, video_counts = answers.counts(), answers.video_counts()
    first = next(iter(rows.values()))[0]
    reached = [
        f"{100 * np.isfinite(first.ranks[f'moment rank,IoU@{threshold}']).mean():.2f} % at IoU {threshold}"
        for threshold in THRESHOLDS
    ]
    return [
        f"{len(answers)} queries over {num_videos} videos of {num_cells} moments each, {num_videos * num_cells} in all.",
        f"{(counts > 1).sum()} queries have several correct answers, {(video_counts > 1).sum()} of them in several videos; "
        f"{counts.max()} answers at most.",
        f"Lists: NMS at IoU {listing.nms_threshold} within a video, at most {listing.per_video} moments of one.",
        f"The moments of the map can answer {' and '.join(reached)}, which bounds moment recall.",
    ]


def _columns(names: Sequence[str], rank_name: str) -> list[str]:
    return [*names, f"mean {rank_name}", f"median {rank_name}"]


def corpus_tables(table: CorpusTable) -> list[list[list[str]]]:
    """The table of videos and those of moments, one for each IoU: rows of cells, the first the header."""
    names, size = recall_names(), len(RECALL_RANKS)
    tables = []
    for place, rank in enumerate(rank_names()):
        metrics = names[place * size : (place + 1) * size]
        body = [
            [name, *(_percent(scores, metric) for metric in metrics), *_rank_cells(scores, rank)]
            for name, scores in table.rows.items()
        ]
        tables.append([["%", *_columns(metrics, rank)], *body])
    return tables


def _percent(scores: Sequence[CorpusScores], metric: str) -> str:
    mean, deviation = mean_and_deviation([score.recalls[metric].mean() for score in scores])
    return f"{100 * mean:.2f}" + ("" if np.isnan(deviation) else f" ± {100 * deviation:.2f}")


def rank_summary(scores: Sequence[CorpusScores], rank: str) -> tuple[float, float]:
    """Mean and median over the queries that have a rank, each averaged over seeds; nan where none has."""
    values = [score.ranks[rank][np.isfinite(score.ranks[rank])] for score in scores]
    if not all(len(value) for value in values):
        return float("nan"), float("nan")
    return float(np.mean([value.mean() for value in values])), float(np.mean([np.median(value) for value in values]))


def _rank_cells(scores: Sequence[CorpusScores], rank: str) -> list[str]:
    return [MISSING if np.isnan(value) else f"{value:.1f}" for value in rank_summary(scores, rank)]


def format_corpus(table: CorpusTable) -> str:
    """The facts and the tables for a terminal."""
    tables = [AsciiTable(rows, f" {table.title} ") for rows in corpus_tables(table)]
    for drawn in tables:
        drawn.justify_columns = dict.fromkeys(range(1, len(drawn.table_data[0])), "right")
    return "\n".join([*table.facts, *(drawn.table for drawn in tables)])


def differences(table: CorpusTable) -> Table | None:
    """The differences of all rows to the first in some metrics, without the prior; None where there is one row."""
    metrics = [
        name for name in recall_names() if name.partition(",")[0].endswith(tuple(f"@{n}" for n in COMPARED_RANKS))
    ]
    rows = [
        RowScores(
            name, {seed: {metric: score.recalls[metric] for metric in metrics} for seed, score in enumerate(scores)}
        )
        for name, scores in table.rows.items()
        if name != PRIOR
    ]
    return Table(table.title, rows, table.resampling) if len(rows) > 1 else None


def write_corpus(path: str, table: CorpusTable) -> None:
    """Write everything as markdown, or as json with an interval for every recall, by the extension of `path`."""
    text = json.dumps(corpus_json(table), indent=1) + "\n" if path.endswith(".json") else corpus_markdown(table)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)


def corpus_markdown(table: CorpusTable) -> str:
    lines = [f"## {table.title}", "", *(f"* {fact}" for fact in table.facts)]
    for header, *body in corpus_tables(table):
        lines += ["", *markdown_table(header, body)]
    compared = differences(table)
    return "\n".join(lines) + "\n" + ("" if compared is None else "\n" + compared.markdown())


def corpus_json(table: CorpusTable) -> dict:
    """Plain values: shares, with the interval of the bootstrap over queries and seeds, and ranks."""
    rows = {}
    for name, scores in table.rows.items():
        values = {seed: score.recalls for seed, score in enumerate(scores)}
        nothing = {
            seed: {metric: np.zeros_like(value) for metric, value in score.items()} for seed, score in values.items()
        }
        above = compare_rows([nothing, values], table.resampling)[1]
        rows[name] = {
            "seeds": len(scores),
            "recall": {
                metric: {"mean": found.value, "low": found.low, "high": found.high} for metric, found in above.items()
            },
            "rank": {
                rank: dict(zip(("mean", "median"), _plain(rank_summary(scores, rank)), strict=True))
                for rank in rank_names()
            },
        }
    return {"title": table.title, "facts": list(table.facts), "rows": rows}


def _plain(values: Sequence[float]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values]
