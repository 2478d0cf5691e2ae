"""A split's predicted moments: their recall, and the prediction file that they are written to."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mmn.data.annotations import VideoAnnotation, iterate_sentences
from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import Predictions
from mmn.evaluation.prediction_file import prediction_record, write_records
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.structures.batch import RowLayout
from mmn.structures.moments import temporal_iou
from mmn.utils import comm


def ranked_ious(predictions: Predictions, truth: Tensor) -> Tensor:
    """IoU of every ranked moment with the best true one -> [S, n]; 0 where a sentence has fewer than n.

    Args:
        truth: [S, G, 2] seconds, empty moments [0, 0] where a sentence has fewer than G.
    """
    ious = temporal_iou(predictions.moments[:, :, None], truth[:, None]).amax(dim=2)
    return ious * (predictions.scores > 0)


def padded_truth(videos: Sequence[VideoAnnotation]) -> Tensor:
    """The true moments of all sentences of a split [S, G, 2] seconds, [0, 0] where one has fewer than G."""
    counts = np.concatenate([video.moment_counts for video in videos])
    moments = torch.from_numpy(np.concatenate([video.moments for video in videos]))
    return RowLayout.from_counts(counts.tolist()).pad(moments)


def evaluate(predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
    """Recall and mIoU of a split from each process's predictions for its share, on their device; only sums leave it."""
    truth = padded_truth(dataset.videos).to(predictions.moments.device)
    ious = ranked_ious(predictions, truth[predictions.sentence_ids])
    hits = torch.tensor(count_hits(ious, dataset.thresholds))
    hits, num_sentences = comm.sum_over_processes(hits), comm.sum_over_processes(torch.tensor(len(ious)))
    overlap = comm.sum_over_processes(ious[:, 0].double().cpu().sum())
    metrics = recall_metrics(hits.tolist(), int(num_sentences), dataset.thresholds)
    return {**metrics, "mIoU": float(overlap) / int(num_sentences)}


def write_predictions(path: str, dataset: MomentDataset, predictions: Predictions) -> None:
    """Write the merged predictions of a split in annotation order.

    Numbers are written with all digits of float32, so that the file scores exactly as the model did.
    """
    write_records(path, prediction_records(dataset, predictions))


def prediction_records(dataset: MomentDataset, predictions: Predictions) -> Iterator[dict[str, object]]:
    """The lines of the prediction file of a split, from its merged predictions."""
    columns = (predictions.sentence_ids.tolist(), predictions.moments.tolist(), predictions.scores.tolist())
    rows = zip(iterate_sentences(dataset.videos), *columns, strict=True)
    for row, ((video, number), sentence_id, moments, scores) in enumerate(rows):
        yield prediction_record(
            dataset.qids[sentence_id],
            video.sentences[number],
            video.video_id,
            video.duration,
            video.moments_by_sentence[number].tolist(),
            [[*moment, score] for moment, score in zip(moments, scores, strict=True) if score > 0],
            predictions.of_clips(row, video.duration),
        )
