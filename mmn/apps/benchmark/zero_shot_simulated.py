"""Rules of zero-shot grounding on simulated features of real annotations, by noise and by length of the moment.

    python -m mmn.apps.benchmark.zero_shot_simulated --annotations charades_test.json highlight_val_release.jsonl

A row carries the words of the sentences that are true there, under noise (`mmn.apps.synthetic.simulated_features`); a
sentence's vector is that of its words, as a perfect text half would give it. The videos are of two halves, by their names'
hash: a rule is chosen on the first and reported on the second. Says how rules compare, nothing about real videos.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from mmn.apps.search.calibrate_index import format_rates
from mmn.apps.search.confidence import fit_calibration, measure_rates
from mmn.apps.synthetic.options import SimulationOptions
from mmn.apps.synthetic.simulated_features import (
    AnnotatedVideo,
    WordVectors,
    collect_videos,
    simulate_video,
    stable_hash,
)
from mmn.data.features import resample_clips
from mmn.modeling.dual_encoder import FrameMoments
from mmn.modeling.match_rules import MATCH_RULES
from mmn.structures.moments import cell_moments, temporal_iou
from mmn.structures.proposals import ProposalCells

LENGTHS = ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0))  # of a moment, as shares of its video
HALVES = ("choice", "report")
CELLS = ProposalCells(64, [63])


def measure(
    vid: str, video: AnnotatedVideo, words: WordVectors, mean_sentence: np.ndarray, options: SimulationOptions
) -> tuple[list[float], dict[str, list[float]]]:
    """The sentences of a video: length of each one's longest moment, as a share, and by rule the IoU of the first moment
    with the best of its own."""
    clips = resample_clips(simulate_video(vid, video, words, options), CELLS.num_clips)
    moments = FrameMoments(CELLS)(torch.from_numpy(clips)[None])[0]
    times = cell_moments(CELLS, torch.tensor([video.duration]))[0]
    truths: dict[str, list[tuple[float, float]]] = {}
    for start, end, sentence in sorted(video.moments):
        truths.setdefault(sentence, []).append((start, end))
    lengths, ious = [], {}
    for sentence, own in truths.items():
        lengths.append(max(end - start for start, end in own) / video.duration)
        vector = words.sentence(sentence)
        for suffix, query in (("", vector), (" - mean", vector - mean_sentence)):
            cosines = (moments @ F.normalize(torch.from_numpy(query), dim=0))[None, None]
            for rule, score in MATCH_RULES.items():
                best = times[int(score(cosines, CELLS)[0, 0].argmax())]
                found = float(temporal_iou(best, torch.tensor(own, dtype=torch.float32)).max())
                ious.setdefault(rule + suffix, []).append(found)
    return lengths, ious


def table(videos: dict[str, AnnotatedVideo], half: str, noises: Sequence[float], dim: int) -> None:
    """Print R@1,IoU@0.5 in percent: a row per rule, columns by noise, and by length at the middle noise."""
    of_half = {vid: video for vid, video in videos.items() if HALVES[stable_hash(vid) % 2] == half}
    columns: dict[str, list[str]] = {}
    for noise in noises:
        options = SimulationOptions(dim, noise)
        words = WordVectors(dim, options.seed)
        sentences = sorted({sentence for video in videos.values() for *_, sentence in video.moments})
        mean_sentence = np.mean([words.sentence(sentence) for sentence in sentences], axis=0)
        lengths, ious = [], {}
        for vid, video in of_half.items():
            some, found = measure(vid, video, words, mean_sentence, options)
            lengths += some
            for rule, values in found.items():
                ious.setdefault(rule, []).extend(values)
        shares = np.array(lengths)
        for rule, values in ious.items():
            is_found = np.array(values) >= 0.5
            columns.setdefault(rule, []).append(f"{100 * is_found.mean():.1f}")
            if noise == noises[len(noises) // 2]:
                parts = [is_found[(shares > low) & (shares <= high)] for low, high in LENGTHS]
                columns[rule] += [f"{100 * part.mean():.1f}" if len(part) else "-" for part in parts]
    print(f"\n{half}: {len(of_half)} videos, {len(lengths)} sentences")
    middle = len(noises) // 2
    heads = [f"noise {noise:g}" for noise in noises]
    heads[middle + 1 : middle + 1] = [f"{heads[middle]}, {low:g} to {high:g}" for low, high in LENGTHS]
    print("| rule | " + " | ".join(heads) + " |\n" + "|---" * (1 + len(heads)) + "|")
    for rule, values in columns.items():
        print(f"| {rule} | " + " | ".join(values) + " |")


def rates(videos: dict[str, AnnotatedVideo], noise: float, dim: int) -> None:
    """Print how often thresholds on the best cosine err where a sentence's own video is there, or taken out."""
    words, measured = WordVectors(dim, 0), {}
    for half in HALVES:
        of_half = {vid: video for vid, video in videos.items() if HALVES[stable_hash(vid) % 2] == half}
        texts = [sorted({sentence for *_, sentence in video.moments}) for video in of_half.values()]
        asked = [(own, sentence) for own, sentences in enumerate(texts) for sentence in sentences]
        queries = torch.from_numpy(np.stack([words.sentence(sentence) for _, sentence in asked]))
        columns = []
        for vid, video in of_half.items():
            clips = resample_clips(simulate_video(vid, video, words, SimulationOptions(dim, noise)), CELLS.num_clips)
            columns.append((queries @ FrameMoments(CELLS)(torch.from_numpy(clips)[None])[0].T).amax(dim=1).numpy())
        is_own = np.zeros((len(asked), len(of_half)), bool)
        is_own[np.arange(len(asked)), [own for own, _ in asked]] = True
        measured[half] = np.stack(columns, axis=1), is_own
    calibration = fit_calibration("choice", *measured["choice"])
    print(f"\ncalibrated on the first half, noise {noise:g}")
    print(format_rates([measure_rates(calibration, half, *measured[half], 100) for half in HALVES]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", nargs="+", required=True)
    parser.add_argument("--noise", nargs="+", type=float, default=[8, 16, 32])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--max-videos", type=int, default=600, help="of each file")
    args = parser.parse_args()
    for path in args.annotations:
        videos = dict(list(collect_videos([path]).items())[: args.max_videos])
        print(f"\n{path}")
        for half in HALVES:
            table(videos, half, args.noise, args.dim)
        for noise in args.noise:
            rates(videos, noise, args.dim)


if __name__ == "__main__":
    main()
