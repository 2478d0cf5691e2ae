"""The choice among found moments: the best ones, without near repetitions, not all of one video.

Pure, on arrays. Shapes: Q queries, k candidates of each.
"""

import numpy as np


def select_moments(
    scores: np.ndarray,
    videos: np.ndarray,
    moments: np.ndarray,
    takes_part: np.ndarray,
    top_k: int,
    nms_threshold: float,
    per_video: int | None = None,
) -> np.ndarray:
    """The best moments of each query, by descending score; of equal ones the first.

    Moments of one video compete in the suppression of SPEC section 5: one is dropped where its IoU with a kept one is
    above the threshold. At most `per_video` of a video are kept. All queries advance together, a kept moment each per
    turn; a turn costs a comparison of the video numbers, and IoUs within one video.

    Args:
        scores: [Q, k].
        videos: [Q, k] int64, equal for moments of one video.
        moments: [Q, k, 2] seconds.
        takes_part: [Q, k] bool, False for candidates that are none.
        top_k: moments to keep per query.
        per_video: moments to keep of one video; None for any number.
    Returns:
        [Q, top_k] int64, places among the k candidates, best first; -1 where a query has no more.
    """
    num_queries = len(scores)
    chosen = np.full((num_queries, top_k), -1, np.int64)
    chosen_videos = np.full((num_queries, top_k), -1, np.int64)
    if not scores.size:
        return chosen
    order = np.argsort(-scores, axis=1, kind="stable")
    alive, codes = (np.take_along_axis(part, order, axis=1) for part in (takes_part, videos))
    starts, ends = (np.take_along_axis(moments[..., bound], order, axis=1) for bound in (0, 1))
    for turn in range(top_k):
        rows = np.flatnonzero(alive.any(axis=1))
        if not len(rows):
            break
        best = alive[rows].argmax(axis=1)
        chosen[rows, turn] = order[rows, best]
        chosen_videos[rows, turn] = codes[rows, best]
        alive[rows, best] = False
        among, others = np.nonzero(alive[rows] & (codes[rows] == codes[rows, best][:, None]))
        query, first = rows[among], best[among]
        a = (starts[query, first], ends[query, first])
        dropped = _iou(*a, starts[query, others], ends[query, others]) > nms_threshold
        if per_video is not None:
            kept = (chosen_videos == chosen_videos[:, turn : turn + 1]).sum(axis=1)
            dropped |= kept[query] >= per_video
        alive[query[dropped], others[dropped]] = False
    return chosen


def _iou(start: np.ndarray, end: np.ndarray, other_start: np.ndarray, other_end: np.ndarray) -> np.ndarray:
    """IoU of moments, as `mmn.structures.moments.temporal_iou`; negative where they are apart."""
    overlap = np.minimum(end, other_end) - np.maximum(start, other_start)
    hull = np.maximum(end, other_end) - np.minimum(start, other_start)
    return np.divide(overlap, hull, out=np.zeros_like(hull), where=hull > 0)


def video_numbers(videos: np.ndarray) -> np.ndarray:
    """Ids [Q, k] object -> numbers [Q, k] int64 that are equal where the ids are."""
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(video_id, len(numbers)) for video_id in videos.ravel().tolist()]
    return np.array(flat, np.int64).reshape(videos.shape)
