"""Training curves."""

import json

import numpy as np
import pytest

from mmn.apps.visual import styled_figure
from mmn.apps.visual.training_curves import draw_training, read_metrics
from mmn.utils.errors import DataError
from mmn.utils.logger import get_logger

TRAIN = {"kind": "train", "loss": 1.0, "vid": 2.0, "iou": 0.1, "lr": 1e-3, "bert_lr": 1e-4, "grad_norm": 3.0}
EVAL = {"kind": "eval/val", "R@1,IoU@0.5": 0.25, "R@5,IoU@0.7": 0.5, "Best_R1": 0.2}
ROWS = [
    {**TRAIN, "epoch": 1, "step": 5},
    {**TRAIN, "epoch": 1, "step": 10, "loss": 0.5},
    {**EVAL, "epoch": 1, "step": 10},
    {**TRAIN, "epoch": 2, "step": 15, "loss": 0.0},
    {**TRAIN, "epoch": 2, "step": 20, "loss": 0.2},
    {**EVAL, "epoch": 2, "step": 20, "R@1,IoU@0.5": 0.5, "Best_R1": 0.4},
]


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines):
        path = tmp_path / "metrics.jsonl"
        path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
        return str(path)

    return write_lines


def panels(rows):
    """{title: {label: (x, y)}} of the four panels."""
    with styled_figure(12, 7) as figure:
        draw_training(figure, rows)
        return {
            axes.get_title(loc="left"): {line.get_label(): line.get_data() for line in axes.lines}
            for axes in figure.axes
        }


def test_losses_lie_at_their_share_of_the_epochs(write):
    losses, *_ = panels(read_metrics(write(*ROWS))).values()
    assert losses.keys() == {"loss", "vid", "iou"}
    assert losses["loss"][0].tolist() == [0.5, 1, 1.5, 2]
    np.testing.assert_array_equal(losses["loss"][1], [1.0, 0.5, np.nan, 0.2])  # 0 has no logarithm


def test_recall_is_in_percent_at_the_end_of_its_epoch_and_the_best_is_marked(write):
    drawn = panels(read_metrics(write(*ROWS)))
    (title,) = (name for name in drawn if "Evaluation on val" in name)
    assert "the best: epoch 2" in title
    x, y = drawn[title]["R@1,IoU@0.5"]
    assert (x.tolist(), y.tolist()) == ([1, 2], [25, 50])


@pytest.mark.parametrize("rows", [ROWS[:1], [ROWS[2]], ROWS[:2]])
def test_run_that_has_just_begun_can_be_drawn(write, rows):
    assert len(panels(read_metrics(write(*rows)))) == 4


def test_last_line_that_was_cut_off_is_left_out(write):
    assert len(read_metrics(write(*ROWS, '{"kind": "tra'))) == len(ROWS)


@pytest.mark.parametrize(
    "bad",
    [
        "{\n",
        "[1]\n",
        '{"kind": "train", "epoch": 1}\n',
        '{"kind": 1, "epoch": 1, "step": 2}\n',
        '{"kind": "train", "epoch": NaN, "step": 2}\n',
        '{"kind": "train", "epoch": 1, "step": 2, "loss": "0.5"}\n',
    ],
)
def test_line_that_is_no_row_is_named(write, bad):
    with pytest.raises(DataError, match="line 2 of"):
        read_metrics(write(ROWS[0], bad, ROWS[1]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_diverged_is_a_gap_and_said(write, value, caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    rows = read_metrics(write(ROWS[0], {**ROWS[1], "loss": value}))
    assert np.isnan(rows[1]["loss"])
    assert "1 numbers of" in caplog.text
    assert "(loss) are not finite" in caplog.text


def test_empty_and_missing_files_are_named(write, tmp_path):
    with pytest.raises(DataError, match="no row"):
        read_metrics(write())
    with pytest.raises(DataError, match="cannot be read"):
        read_metrics(str(tmp_path / "none.jsonl"))
