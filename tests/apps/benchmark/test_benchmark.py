"""What the benchmark measures: both forms of a step, waiting for data, single queries, and how their cost grows."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from localizing import checkpoint_content
from torch.testing import assert_close
from transformers import DistilBertConfig

from mmn.apps.benchmark import benchmark_tables, settings
from mmn.apps.benchmark.batch_sizes import COMPONENTS, SETTINGS
from mmn.apps.benchmark.forms import Workload, recall_hits
from mmn.apps.benchmark.growth import draw_growth
from mmn.apps.benchmark.latency import measure_latency
from mmn.apps.benchmark.reference_arguments import reference_settings
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.benchmark.waiting import measure_waiting
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.commands.frame import run_command
from mmn.evaluation.recall import count_hits
from mmn.structures.moments import temporal_iou
from mmn.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch):
    """Text encoders of the measured models that take no time."""
    small = partial(DistilBertConfig, dim=8, hidden_dim=16, n_layers=1, n_heads=1)
    monkeypatch.setattr(settings, "DistilBertConfig", small)


def test_hits_of_a_sentence_are_those_of_the_package():
    moments, truth = torch.rand(8, 2).sort(dim=1).values, torch.tensor([0.2, 0.7])
    counts = count_hits(temporal_iou(moments, truth)[None], (0.3, 0.5))
    assert [[bool(count) for count in row] for row in counts] == recall_hits(moments, truth, (0.3, 0.5))


def test_option_that_the_plain_form_does_not_know_is_refused(tiny_cfg):
    tiny_cfg.MODEL.MMN.FEAT2D.NAME = "conv"
    with pytest.raises(ConfigError, match="MODEL.MMN.FEAT2D.NAME is 'conv', but the plain form knows 'pool' alone"):
        reference_settings(tiny_cfg)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_components_that_can_be_named_are_those_of_a_batch(tmp_path, mode):
    options = ["MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "8", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "1", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "8"]
    setting = replace(SETTINGS["charades"], num_videos=1, num_sentences=1)
    cfg = measured_config(setting, str(tmp_path), options)
    workload = Workload(cfg, setting, torch.device("cpu"), mode == "train")
    names = [component.name for component in workload.components()]
    assert names == [name for name, modes in COMPONENTS.items() if mode in modes]


def test_a_backward_pass_alone_leaves_the_gradients_of_a_step(tmp_path):
    options = ["MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "8", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "2", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.IMPL", "fast"]
    setting = replace(SETTINGS["charades"], num_videos=2)
    workload = Workload(measured_config(setting, str(tmp_path), options), setting, torch.device("cpu"), training=True)
    workload.model.text_encoder.eval()  # no dropout
    backward = next(component for component in workload.components() if component.name == "backward")
    parameters = [*workload.model.proposal_conv.parameters(), *workload.model.featpool.parameters()]
    gradients = []
    for run in (backward.plain, backward.ours, backward.plain, backward.ours):  # in turns, as they are measured
        run()
        gradients.append([parameter.grad.clone() for parameter in parameters])
    for plainly, first, plainly_again, second in zip(*gradients, strict=True):
        assert_close(first, second, rtol=0, atol=0)
        assert_close(plainly, plainly_again, rtol=1e-5, atol=1e-7)
        assert (first - plainly).abs().max() <= 1e-4 * plainly.abs().max() + 1e-6


def test_named_parts_are_measured_alone(monkeypatch, capsys):
    measured = []
    for name in ("measure_data", "report_waiting", "report_first_searches", "report_gpu", "peak_memory_of"):
        monkeypatch.setattr(benchmark_tables, name, lambda *_, name=name: measured.append(name))
    monkeypatch.setattr(benchmark_tables, "print_builds", lambda names, repeats: measured.append(names))
    monkeypatch.setattr(benchmark_tables, "register_packed_linear", lambda: None)  # once in a process
    monkeypatch.setattr(benchmark_tables, "Workload", SimpleNamespace)  # a component would need more of it
    run_command("benchmark", ["--components", "index", "--settings", "tacos"], tool="")
    assert measured == [["tacos"]]
    run_command("benchmark", ["--components", "first searches", "waiting", "--settings", "tacos"], tool="")
    assert measured[1:] == ["report_waiting", "report_first_searches"]


def test_waiting_is_a_share_and_rates_are_above_zero(tmp_path):
    options = ["MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "8", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "1", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "8"]
    options += ["MODEL.MMN.NUM_CLIPS", "8", "INPUT.NUM_PRE_CLIPS", "16", "MODEL.MMN.FEAT2D.POOLING_COUNTS", "[7]"]
    setting = replace(SETTINGS["tacos"], num_videos=2, num_sentences=2)
    waiting = measure_waiting(setting, str(tmp_path), [*options, "DATALOADER.NUM_WORKERS", "1"], torch.device("cpu"))
    assert 0 <= waiting.later_wait <= 1 and 0 <= waiting.first_wait <= 1
    assert waiting.first_rate > 0 and waiting.later_rate > 0 and waiting.first_batch > 0


def test_latency_is_measured_after_a_first_call(tiny_cfg, tmp_path):
    torch.save(checkpoint_content(tiny_cfg), tmp_path / "model.pth")
    localizer = MomentLocalizer.from_checkpoint(tmp_path / "model.pth", device="cpu")
    queries, localize = [], localizer.localize
    localizer.localize = lambda video, sentences: (queries.append(sentences), localize(video, sentences))[1]
    seconds = measure_latency(localizer, 30.0, repeats=4)
    assert {name: len(times) for name, times in seconds.items()} == {
        "encode the features of 30 s": 3,
        "one more query": 4,
        "16 more queries": 3,
    }
    assert [len(sentences) for sentences in queries] == [1] * 5 + [16] * 4
    assert len({sentence for sentences in queries for sentence in sentences}) == 5 + 16 * 4  # none was asked before


def test_growth_draws_the_seconds_of_every_point():
    seconds = {("train", "plain"): 4.0, ("train", "ours"): 2.0, ("eval", "plain"): 1.0, ("eval", "ours"): 0.5}
    measured = {
        name: {1: seconds, 8: {key: 3 * value for key, value in seconds.items()}} for name in ("clips", "videos")
    }
    figure = pytest.importorskip(
        "matplotlib.figure", reason="matplotlib is not installed: pip install .[plots]"
    ).Figure()
    draw_growth(figure, measured)
    for axes, name in zip(figure.axes, measured, strict=True):
        assert axes.get_xlabel() == name
        drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
        assert drawn["training step, ours"] == ([1, 8], [2.0, 6.0])
        assert drawn["evaluation forward, plain"] == ([1, 8], [1.0, 3.0])
