"""Measure what leaving out near-duplicates saves of an index, and what it costs in finding moments.

python -m mmn.apps.benchmark.index_prune --ckpt W --features H5 --annotations JSON [--cosines 0.999 0.99 0.95 0.9]

An index of the annotated videos is built for each cosine, and searched by all their sentences.
"""

import argparse
import logging
import os
import tempfile

import numpy as np
from terminaltables import AsciiTable

from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.search.build_index import build_index
from mmn.apps.search.indexed_video import BuildSettings
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.pruning import moment_ious
from mmn.apps.search.search_results import SearchResult
from mmn.apps.search.video_collections import FeatureCollection
from mmn.data.annotations import VideoAnnotation, read_annotations
from mmn.utils.cli import run_tool
from mmn.utils.logger import get_logger

RANKS = (1, 10, 100)
IOUS = (0.5, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--feature-key", default="{vid}")
    parser.add_argument("--cosines", nargs="+", type=float, default=[0.999, 0.99, 0.98, 0.95, 0.9, 0.8])
    args = parser.parse_args()
    get_logger().setLevel(logging.WARNING)
    localizer, videos = MomentLocalizer.from_checkpoint(args.ckpt), read_annotations(args.annotations)
    rows = [["prune", "moments", "share", *(f"R@{rank},IoU={iou}" for iou in IOUS for rank in RANKS)]]
    whole = None
    with tempfile.TemporaryDirectory() as folder:
        for cosine in [None, *args.cosines]:
            place = os.path.join(folder, str(cosine))
            collection = FeatureCollection(args.features, args.feature_key, localizer.input_size, args.annotations)
            build_index(localizer, collection, place, "exact", BuildSettings(prune=cosine))
            with MomentIndex.open(place, localizer) as index:
                count = index.store.num_moments
                whole = whole or count
                recalls = [f"{100 * value:.1f}" for value in measure_recall(index, videos)]
                rows.append(["-" if cosine is None else f"{cosine:g}", str(count), f"{count / whole:.3f}", *recalls])
    print(AsciiTable(rows).table)


def measure_recall(index: MomentIndex, videos: list[VideoAnnotation]) -> list[float]:
    """Share of the sentences of which a moment is among the first ones of the whole index, for IOUS and RANKS."""
    asked = [
        (sentence, video.video_id, moments)
        for video in videos
        for sentence, moments in zip(video.sentences, video.moments_by_sentence, strict=True)
    ]
    results = index.search([sentence for sentence, *_ in asked], top_k=max(RANKS))
    ious = [found_ious(result, *answer) for result, (_, *answer) in zip(results, asked, strict=True)]
    return [float(np.mean([(part[:rank] >= iou).any() for part in ious])) for iou in IOUS for rank in RANKS]


def found_ious(result: SearchResult, video_id: str, moments: np.ndarray) -> np.ndarray:
    """IoU of each found moment with the best of the right ones [G, 2]; 0 in another video."""
    found = np.array([(one.start, one.end) for one in result.moments], np.float32).reshape(-1, 2)
    is_there = np.array([one.video == video_id for one in result.moments], bool)
    return moment_ious(found, moments).max(axis=1) * is_there


if __name__ == "__main__":
    run_tool(main)
