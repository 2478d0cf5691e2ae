"""Scoring tubes: the metrics of HC-STVG, and the challenge's prediction file (SPEC section 8)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmn.data.annotation_files import read_annotation_json
from mmn.data.tube_annotations import TubeAnnotation, parse_tube, read_tube_annotations, tube_entry, write_entries
from mmn.data.tube_dataset import TubeDataset
from mmn.evaluation.inference import SentencePredictions
from mmn.evaluation.recall import format_table, title_of
from mmn.modeling.mmn import GroundingOutput
from mmn.modeling.tubes import tube_scores
from mmn.structures.batch import RowLayout, TubeBatch
from mmn.structures.iou_thresholds import checked_thresholds
from mmn.structures.proposals import ProposalCells
from mmn.structures.tubes import Tubes, cell_rows, concatenate, piece_ious
from mmn.utils import comm
from mmn.utils.errors import DataError, listed
from mmn.utils.logger import get_logger

COMPARISON = ">"  # of an IoU with a threshold (SPEC section 8)


@dataclass
class TubePredictions(SentencePredictions):
    """The best piece of a tube for each of a set of sentences, one per video.

    Attributes:
        tubes: [S] int64, the tube's number among those of the video.
        starts, stops: [S] int64, rows start .. stop - 1 of the tube.
        scores: [S] float32.
    """

    tubes: Tensor
    starts: Tensor
    stops: Tensor
    scores: Tensor


class TubeRanker:
    """Scores of the proposal maps of all tubes of a video -> its best piece."""

    predictions = TubePredictions

    def __init__(self, cells: ProposalCells):
        self.cells = cells

    def __call__(self, output: GroundingOutput, batch: TubeBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tubes, starts, stops and scores, each [S]."""
        return self.best(tube_scores(output, batch.tubes).float(), batch.tubes, batch.lengths)

    def best(self, scores: Tensor, tubes: RowLayout, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Best piece from scores [T, M]. Cells without a row are left out; of equal scores the first is taken.

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


def predicted_pieces(predictions: TubePredictions, tubes: Sequence[Tubes]) -> Iterator[tuple[int, Tubes]]:
    """(sentence id, the predicted piece of one of its tubes); `tubes` holds the candidates of every video of the split."""
    columns = (predictions.sentence_ids, predictions.tubes, predictions.starts, predictions.stops)
    for number, tube, start, stop in zip(*(column.tolist() for column in columns), strict=True):
        yield number, tubes[number].piece(tube, start, stop)


def tube_ious(pieces: Sequence[Tubes], truths: Sequence[Tubes]) -> tuple[Tensor, Tensor]:
    """Spatio-temporal and temporal IoU of single tubes with their truths, two tensors [S] float32."""
    if not pieces:
        return torch.zeros(0), torch.zeros(0)
    joined = concatenate(pieces)
    spatial, temporal = piece_ious(
        joined, concatenate(truths), torch.zeros_like(joined.lengths)[:, None], joined.lengths[:, None]
    )
    return spatial[:, 0], temporal[:, 0]


def tube_sums(spatial: Tensor, temporal: Tensor, thresholds: Sequence[float]) -> Tensor:
    """[thresholds + 3] float64, to be summed over processes: sentences above each threshold, both IoU, sentences."""
    hits = [(spatial > threshold).sum() for threshold in thresholds]
    return torch.stack([*hits, spatial.double().sum(), temporal.double().sum(), torch.tensor(len(spatial))]).double()


def tube_metrics(sums: Tensor, thresholds: Sequence[float]) -> dict[str, float]:
    """Sums of `tube_sums` -> shares and means, by the names of the table."""
    *hits, spatial, temporal = (sums[:-1] / sums[-1]).tolist()
    metrics = {f"R@1,IoU@{threshold}": hit for threshold, hit in zip(thresholds, hits, strict=True)}
    return {**metrics, "Best_R1": sum(hits) / len(hits), "m_vIoU": spatial, "m_tIoU": temporal}


def evaluate_tubes(predictions: TubePredictions, dataset: TubeDataset) -> dict[str, float]:
    """Metrics of a split from each process's predictions for its share; called on all processes."""
    pieces = list(predicted_pieces(predictions, dataset.tubes))
    truths = [_truth(dataset.videos[number]) for number, _ in pieces]
    ious = tube_ious([piece for _, piece in pieces], truths)
    return tube_metrics(comm.sum_over_processes(tube_sums(*ious, dataset.thresholds)), dataset.thresholds)


def prediction_entries(predictions: TubePredictions, dataset: TubeDataset) -> Mapping[str, dict]:
    """The challenge's `{video: {"st_frame", "ed_frame", "bbox": {frame: [x1, y1, x2, y2]}}}`."""
    pieces = predicted_pieces(predictions, dataset.tubes)
    return {dataset.videos[number].video_id: tube_entry(piece) for number, piece in pieces}


def write_tube_predictions(path: str, dataset: TubeDataset, predictions: TubePredictions) -> None:
    """Write the merged predictions of a split as the challenge's json file."""
    write_entries(path, prediction_entries(predictions, dataset))


# ---- Prediction files ------------------------------------------------------------------------------------------------


def score_tube_file(
    path: str, annotations: str, thresholds: Sequence[float], num_examples: int, missing_as_wrong: bool = False
) -> None:
    """Print the metrics of a prediction file against annotations with the truth, and some of its videos.

    Args:
        missing_as_wrong: a video without a prediction counts as a miss, which the log says; otherwise it is an error.
    """
    predictions, videos = read_tube_predictions(path), read_tube_annotations(annotations)
    metrics = score_tubes(predictions, videos, checked_thresholds(thresholds), path, annotations, missing_as_wrong)
    print(format_table(metrics, title_of(path, len(videos), len(videos), COMPARISON)))
    if num_examples:
        print(format_tube_examples(predictions, [v for v in videos if v.video_id in predictions], num_examples))


def read_tube_predictions(path: str) -> dict[str, Tubes]:
    """A prediction file: video -> its predicted tube (n = 1). Raises DataError naming a video that is wrong."""
    return {video: parse_tube(f"video {video} of {path}", entry) for video, entry in read_annotation_json(path).items()}


def score_tubes(
    predictions: Mapping[str, Tubes],
    videos: Sequence[TubeAnnotation],
    thresholds: Sequence[float],
    path: str,
    annotations: str,
    missing_as_wrong: bool = False,
) -> dict[str, float]:
    """The table for predictions of a split whose truth is known.

    Args:
        path, annotations: the files of `predictions` and `videos`, for messages.
    Raises DataError, naming up to ten videos, unless both are of the same ones and their truth is known.
    """
    known = {video.video_id for video in videos}
    strange = [video for video in predictions if video not in known]
    missing = [video for video in known if video not in predictions]
    no_truth = [video.video_id for video in videos if video.truth is None]
    if strange:
        raise DataError(
            f"{len(strange)} of the {len(predictions)} videos of {path} are not in {annotations} ({listed(strange)}): give "
            "files of the same split"
        )
    if no_truth:
        raise DataError(
            f"{len(no_truth)} of the {len(videos)} videos of {annotations} have no truth ({listed(no_truth)}): nothing "
            "can be scored"
        )
    if missing and not missing_as_wrong:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(videos)} videos of {annotations} ({listed(sorted(missing))}): "
            "predict them all, or let them count as wrong with --missing-as-wrong"
        )
    if missing:
        get_logger().warning(
            "%d of the %d videos of %s have no prediction and count as wrong", len(missing), len(videos), annotations
        )
    predicted = [video for video in videos if video.video_id in predictions]
    ious = tube_ious([predictions[video.video_id] for video in predicted], [_truth(video) for video in predicted])
    spatial, temporal = (torch.cat([values, torch.zeros(len(missing))]) for values in ious)
    return tube_metrics(tube_sums(spatial, temporal, thresholds), thresholds)


def format_tube_examples(predictions: Mapping[str, Tubes], videos: Sequence[TubeAnnotation], count: int) -> str:
    """A few videos, evenly spread over the split, with their true and predicted frames."""
    lines = []
    for number in torch.linspace(0, len(videos) - 1, min(count, len(videos))).long().tolist():
        video = videos[number]
        piece = predictions[video.video_id]
        spatial, temporal = tube_ious([piece], [_truth(video)])
        lines.append(f"{video.video_id}: {video.sentence.strip()!r}")
        lines.append(
            f"    truth frames {_frames(_truth(video))}, predicted {_frames(piece)}  vIoU {spatial.item():.2f}  "
            f"tIoU {temporal.item():.2f}"
        )
    return "\n".join(lines)


def _truth(video: TubeAnnotation) -> Tubes:
    """The truth of a video, which the caller knows to have one."""
    assert video.truth is not None
    return video.truth


def _frames(tube: Tubes) -> str:
    first = int(tube.first_frames)
    return f"{first}-{first + int(tube.lengths) - 1}"
