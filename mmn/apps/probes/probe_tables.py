"""The probes of a dataset as markdown (docs/PROBES.md): what tools/probe_data.py calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from yacs.config import CfgNode

from mmn.apps.probes import priors
from mmn.apps.probes.similar_sentences import chance_in_batch, count_like_videos, highest_overlaps
from mmn.data.annotations import VideoAnnotation, iterate_sentences, sentence_qids
from mmn.data.moment_files import read_split
from mmn.data.splits import Splits
from mmn.evaluation.prediction_file import read_predictions
from mmn.evaluation.query_identity import pair_queries
from mmn.evaluation.score_file import best_ious
from mmn.utils.errors import ConfigError
from mmn.utils.markdown import MISSING, markdown_table

INTRODUCTION = """\
# What the datasets give away

Written by `tools/probe_data.py --config-file F ... --out docs/PROBES.md` from annotation files alone, without any
video. Recall is that of the test split, with the thresholds (and for R@5 the NMS) of the dataset's config.

* **prior-only**: one ranked list of moments, in shares of the duration, for every sentence. *Peaks of the histogram*:
  where the train split's moments are densest, (start, end) in 64 x 64 bins, smoothed by a Gaussian of 1.5 bins. *Best
  on train*: the moments with the highest mean R@1 over the thresholds on the train split, which is the best a prior can
  do.
* **query-only: words**: a model that reads the sentence and no video. It is a bag of the words that occur at least
  twice in train: the mean of their 64-d vectors, and a linear layer to the moments of the grid, trained on the train
  split to predict how many thresholds the IoU of each moment reaches. The epoch is picked on every tenth training
  video. Its gain over the prior comes from words alone.
* **duration-only**: the same model, but its only input is the video's duration (16 quantile bins). It shows what a
  video-only model can know without features.
* **video-only: ceiling**: the highest R@1 that a model can reach without reading the sentence: one moment per video,
  chosen with knowledge of the truth, for each threshold separately. It is an upper bound for video-only models, not a
  model.

What a *trained* model owes to one input alone needs the features: `tools/probe_data.py --config-file F --ckpt W` runs a
checkpoint with the sentences shuffled across videos (video-only) and with the videos shuffled (query-only).

Where a sentence has several moments, the best of them counts, and the longest says how long its moment is.

Near duplicates are found by the Jaccard similarity of lower-case word sets. The chance of a false negative is for the
released batch size, with videos drawn without replacement; sentences of the same video are not counted.
"""
LENGTH_EDGES = (0.1, 0.25, 0.5)  # shares of the video's duration
OVERLAP_EDGES = (0.5, 0.75, 1.0)  # Jaccard with the most similar training sentence
LIKE_THRESHOLDS = (0.6, 0.8, 1.0)  # Jaccard from which on sentences count as near duplicates


@dataclass
class Probe:
    """The annotations of a config's training and test splits, and what is probed on them.

    Attributes:
        name: the dataset's.
        train, test: videos.
        split: name of the test split.
        thresholds: IoU values of the recall.
        nms_threshold, batch_size: TEST.NMS_THRESH and SOLVER.BATCH_SIZE.
    """

    name: str
    train: list[VideoAnnotation]
    test: list[VideoAnnotation]
    split: str
    thresholds: tuple[float, ...]
    nms_threshold: float
    batch_size: int

    def prior_ious(self) -> dict[str, Tensor]:
        """By the name of the prediction, IoU [S, n] of its ranked moments with the test split's true ones."""
        known, truth = priors.shares(self.train), priors.shares(self.test)
        grid = priors.candidate_moments()
        constant = {
            "prior-only: peaks of the histogram": priors.smoothed_histogram(known),
            "prior-only: best on train": priors.mean_hit_rates(grid, known, self.thresholds),
        }
        results = {
            name: priors.ranked_ious(priors.rank(grid, scores[None], self.nms_threshold), truth)
            for name, scores in constant.items()
        }
        results["duration-only"] = self._bag_ious(priors.duration_tokens)
        results["query-only: words"] = self._bag_ious(priors.word_tokens)
        return results

    def _bag_ious(self, tokenize) -> Tensor:
        tokens, num_tokens = tokenize(self.train, self.train)
        model = priors.train_bag_model(
            tokens,
            priors.shares(self.train),
            priors.held_out_sentences(self.train),
            num_tokens,
            self.thresholds,
            self.nms_threshold,
        )
        ranked = priors.predict_bags(model, tokenize(self.train, self.test)[0], self.nms_threshold)
        return priors.ranked_ious(ranked, priors.shares(self.test))

    def sentences(self, videos: Sequence[VideoAnnotation]) -> list[str]:
        return [video.sentences[number] for video, number in iterate_sentences(list(videos))]

    def read_ious(self, path: str, truth: str | None = None, missing_as_wrong: bool = False) -> Tensor:
        """IoU [S, n] of a prediction file for the test split, as test_net.py --dump writes it.

        Args:
            truth, missing_as_wrong: those of `read_predictions`.
        Raises DataError, naming queries, unless it is about the sentences of the split, by their qid.
        """
        sentences = [
            SplitSentence(qid, video.sentences[index], video.video_id)
            for qid, (video, index) in zip(sentence_qids(self.test), iterate_sentences(self.test), strict=True)
        ]
        records = read_predictions(path, truth, missing_as_wrong)
        pairs = pair_queries(records, path, sentences, f"the split {self.split}")
        return torch.from_numpy(best_ious([record.ious() for record, _ in pairs]))


class SplitSentence(NamedTuple):
    """A sentence of a split, as prediction files name it."""

    qid: int | str
    query: str
    video_id: str


def build_probe(cfg: CfgNode) -> Probe:
    """The probe of a config's training splits and first test split. Raises ConfigError where these hold no moments."""
    if cfg.MODEL.ARCHITECTURE != "MMN":
        raise ConfigError(
            f"MODEL.ARCHITECTURE {cfg.MODEL.ARCHITECTURE} has no probes, which are about moments: give a config of MMN"
        )
    splits = Splits(cfg)
    train = [video for split in splits.named("TRAIN") for video in read_split(cfg, split)]
    split = splits.named("TEST")[0]
    test, thresholds = read_split(cfg, split), split.entry.thresholds
    return Probe(cfg.DATASETS.NAME, train, test, split.name, thresholds, cfg.TEST.NMS_THRESH, cfg.SOLVER.BATCH_SIZE)


def describe(
    probe: Probe, predictions: Mapping[str, str], truth_path: str | None = None, missing_as_wrong: bool = False
) -> str:
    """All tables of one dataset.

    Args:
        predictions: prediction files for its test split by name, shown beside the priors.
        truth_path, missing_as_wrong: as for `mmn.evaluation.prediction_file.read_predictions`.
    """
    read = {name: probe.read_ious(path, truth_path, missing_as_wrong) for name, path in predictions.items()}
    ious = {**probe.prior_ious(), **read}
    overlap = highest_overlaps(probe.sentences(probe.test), probe.sentences(probe.train))
    truth = priors.shares(probe.test)
    lengths = (truth[..., 1] - truth[..., 0]).amax(dim=1).numpy()
    counts = [len(video.sentences) for video in probe.test]
    at = " / ".join(f"{threshold:g}" for threshold in probe.thresholds)
    lines = [
        f"## {probe.name}",
        "",
        f"{len(probe.train)} training videos; `{probe.split}`: {len(counts)} videos, {sum(counts)} sentences.",
        *("", "### Without looking", "", *recall_table(ious, probe)),
        *("", f"### By length of the moment (share of the video): R@1 at IoU {at}", ""),
        *group_table(ious, probe.thresholds, lengths, LENGTH_EDGES, is_right_closed=True),
        *("", f"### By Jaccard of the sentence with the most similar training sentence: R@1 at IoU {at}", ""),
        *group_table(ious, probe.thresholds, overlap, OVERLAP_EDGES, is_right_closed=False),
        *("", "### Test sentences with a near duplicate in train", "", *duplicate_table(overlap)),
        *("", "### False negatives in a training batch", "", *false_negative_lines(probe)),
    ]
    return "\n".join(lines) + "\n"


def recall_table(ious: Mapping[str, Tensor], probe: Probe) -> list[str]:
    """Recall of every prediction, and the ceiling of what does not read the sentence."""
    metrics = {name: priors.recall(values, probe.thresholds) for name, values in ious.items()}
    columns = list(next(iter(metrics.values())))
    metrics["video-only: ceiling"] = priors.video_ceiling(probe.test, probe.thresholds)
    return markdown_table(
        ["%", *columns], [[name, *(_percent(row.get(column)) for column in columns)] for name, row in metrics.items()]
    )


def group_table(
    ious: Mapping[str, Tensor],
    thresholds: Sequence[float],
    values: np.ndarray,
    edges: Sequence[float],
    is_right_closed: bool,
) -> list[str]:
    """R@1 in percent, at each threshold, of the sentences in each interval of `values` [S] between the edges."""
    groups = np.digitize(values, edges, right=is_right_closed)
    bounds = ["", *(f"{edge:g}" for edge in edges), ""]
    signs = ("≤", ">") if is_right_closed else ("<", "≥")
    names = []
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        names.append(
            " and ".join(part for part in (low and f"{signs[1]} {low}", high and f"{signs[0]} {high}") if part)
        )
    body = []
    for number, name in enumerate(names):
        chosen = torch.from_numpy(groups == number)
        cells = [_recall_cell(rows[chosen], thresholds) for rows in ious.values()]
        body.append([name, str(int(chosen.sum())), *cells])
    return markdown_table(["", "sentences", *ious], body)


def _recall_cell(ious: Tensor, thresholds: Sequence[float]) -> str:
    """R@1 at each threshold in one cell. ious: [S, n]."""
    metrics = priors.recall(ious, thresholds) if len(ious) else {}
    return " / ".join(_percent(metrics.get(f"R@1,IoU@{threshold}")) for threshold in thresholds)


def duplicate_table(overlap: np.ndarray) -> list[str]:
    """A table of how many test sentences reach each Jaccard with some training sentence. overlap: [S]."""
    body = []
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        count = int((overlap >= threshold).sum())
        body.append([f"≥ {threshold:g}", str(count), _percent(count / len(overlap))])
    return markdown_table(["Jaccard", "sentences", "%"], body)


def false_negative_lines(probe: Probe) -> list[str]:
    """A table of how often a training sentence meets a near duplicate in the other videos of its batch."""
    like = count_like_videos(probe.train, LIKE_THRESHOLDS)
    chance = chance_in_batch(like, len(probe.train), probe.batch_size)
    expected = like * (probe.batch_size - 1) / max(len(probe.train) - 1, 1)
    body = [
        [f"≥ {threshold:g}", _percent((row > 0).mean()), _percent(odds.mean()), f"{mean.mean():.3f}"]
        for threshold, row, odds, mean in zip(LIKE_THRESHOLDS, like, chance, expected, strict=True)
    ]
    header = ["Jaccard", "% with one in another video", "% with one in the batch", "videos with one, mean per sentence"]
    return [f"Batches of {probe.batch_size} videos:", "", *markdown_table(header, body)]


def control_lines(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The tables of `run_controls`."""
    lines = []
    for split, controls in results.items():
        columns = list(next(iter(controls.values())))
        body = [[name, *(_percent(metrics[column]) for column in columns)] for name, metrics in controls.items()]
        lines += [f"### {split}", "", *markdown_table(["%", *columns], body), ""]
    return lines


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.2f}"
