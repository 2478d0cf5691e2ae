"""A split's predicted moments: their recall, and the prediction file that they are written to."""

import numpy as np
import torch
from torch import Tensor

from mmn.data.annotations import iterate_sentences
from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import Predictions
from mmn.evaluation.prediction_file import prediction_record, write_records
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.structures.moments import temporal_iou
from mmn.utils import comm


def ranked_ious(predictions: Predictions, truth: Tensor) -> Tensor:
    """IoU of every ranked moment with the truth [S, 2] seconds -> [S, n]; 0 where a sentence has fewer than n."""
    return temporal_iou(predictions.moments, truth[:, None]) * (predictions.scores > 0)


def evaluate(predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
    """Recall of a split from each process's predictions for its share, on their device; only counts leave it."""
    truth = torch.from_numpy(np.concatenate([video.moments for video in dataset.videos]))
    ious = ranked_ious(predictions, truth.to(predictions.moments.device)[predictions.sentence_ids])
    hits = torch.tensor(count_hits(ious, dataset.thresholds))
    hits, num_sentences = comm.sum_over_processes(hits), comm.sum_over_processes(torch.tensor(len(ious)))
    return recall_metrics(hits.tolist(), int(num_sentences), dataset.thresholds)


def write_predictions(path: str, dataset: MomentDataset, predictions: Predictions) -> None:
    """Write the merged predictions of a split in annotation order.

    Numbers are written with all digits of float32, so that the file scores exactly as the model did.
    """
    columns = (predictions.sentence_ids.tolist(), predictions.moments.tolist(), predictions.scores.tolist())
    rows = zip(iterate_sentences(dataset.videos), *columns, strict=True)
    write_records(
        path,
        (
            prediction_record(
                dataset.qids[sentence_id],
                video.sentences[number],
                video.video_id,
                video.duration,
                video.moments_by_sentence[number].tolist(),
                [[*moment, score] for moment, score in zip(moments, scores, strict=True) if score > 0],
            )
            for (video, number), sentence_id, moments, scores in rows
        ),
    )
