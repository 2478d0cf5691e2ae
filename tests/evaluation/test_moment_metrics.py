"""Predictions of a split whose sentences have several moments: scored by the best one, and written with all of them."""

import json

import numpy as np
import pytest
import torch

from mmn.data.annotations import VideoAnnotation
from mmn.evaluation.inference import Predictions
from mmn.evaluation.moment_metrics import evaluate, write_predictions
from mmn.evaluation.prediction_file import read_predictions
from mmn.evaluation.score_file import score_predictions

THRESHOLDS = (0.3, 0.5, 0.7)


class Split:
    """As much of a dataset as evaluation asks for."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        self.videos, self.thresholds, self.qids = [], THRESHOLDS, []
        for number, num_sentences in enumerate([2, 1, 3]):
            windows = [
                np.sort(generator.uniform(0, 60, (count, 2)), axis=1)
                for count in generator.integers(1, 5, num_sentences)
            ]
            texts = [f"sentence {index}" for index in range(num_sentences)]
            self.videos.append(VideoAnnotation(f"v{number}", 60.0, texts, windows))
            self.qids += [f"q{number}_{index}" for index in range(num_sentences)]


@pytest.mark.parametrize("seed", range(5))
def test_a_dump_scores_as_the_split_does(tmp_path, seed):
    """The two ways to a score share no code: on the device by padded moments, and from the file by lists."""
    split, generator = Split(seed), torch.Generator().manual_seed(seed)
    moments = (torch.rand(6, 5, 2, generator=generator) * 60).sort(dim=2).values
    scores = torch.rand(6, 5, generator=generator).sort(descending=True).values
    scores[2, 3:] = 0  # fewer moments than the others
    predictions = Predictions(torch.arange(6), moments, scores)
    write_predictions(str(tmp_path / "dump.jsonl"), split, predictions)
    from_file = score_predictions(read_predictions(str(tmp_path / "dump.jsonl")), THRESHOLDS)
    for name, value in evaluate(predictions, split).items():
        assert from_file[name] == value


def test_a_dump_has_the_qid_and_all_moments_of_a_sentence(tmp_path):
    split = Split(0)
    predictions = Predictions(torch.arange(6), torch.tensor([[[0.0, 1.0]]] * 6), torch.ones(6, 1))
    write_predictions(str(tmp_path / "dump.jsonl"), split, predictions)
    lines = [json.loads(line) for line in (tmp_path / "dump.jsonl").read_text().splitlines()]
    assert [line["qid"] for line in lines] == split.qids
    windows = [part for video in split.videos for part in video.windows]
    assert [line["relevant_windows"] for line in lines] == [part.astype(np.float32).tolist() for part in windows]
