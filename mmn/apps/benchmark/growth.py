"""Growth of the cost of both forms with the size of the map, the sentences per video and the videos per batch."""

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.forms import Workload
from mmn.apps.benchmark.measure import time_component
from mmn.apps.benchmark.settings import measured_config
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.memory import reuse_freed_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = 128
POOLING_COUNTS = {16: [15], 32: [15, 8], 64: [15, 8, 8], 128: [15, 8, 8, 8]}
BASE = {"clips": 32, "sentences per video": 4, "videos": 4}
RANGES = {"clips": [16, 32, 64, 128], "sentences per video": [1, 4, 16, 64], "videos": [1, 2, 4, 8, 16]}
WHOLES = {"eval": "evaluation forward", "train": "training step"}


def plot_growth(path: str, repeats: int) -> None:
    """Measure at 128 channels, k 5, 4 layers, one quantity varied at a time, and draw seconds per call as a png."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("the growth plot needs matplotlib: pip install .[plots]") from error
    reuse_freed_memory()
    measured = {}
    for quantity, values in RANGES.items():
        measured[quantity] = {value: _measure({**BASE, quantity: value}, repeats) for value in values}
        print(quantity, measured[quantity], flush=True)
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    draw_growth(figure, measured)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def draw_growth(figure: "Figure", measured: Mapping[str, Mapping[int, Mapping[tuple[str, str], float]]]) -> None:
    """One plot per quantity of `RANGES`, from seconds by its values and by (mode, form)."""
    plots = figure.subplots(1, len(measured))
    for axes, (quantity, points) in zip(plots, measured.items(), strict=True):
        for mode, color in (("train", "tab:blue"), ("eval", "tab:orange")):
            for form, style in (("plain", "--"), ("ours", "-")):
                seconds = [point[mode, form] for point in points.values()]
                axes.plot(list(points), seconds, style, color=color, marker="o", label=f"{WHOLES[mode]}, {form}")
        axes.set(xscale="log", yscale="log", xlabel=quantity, ylabel="seconds")
        axes.minorticks_off()
        axes.set_xticks(list(points), map(str, points))
        axes.grid(alpha=0.3)
    figure.legend(*plots[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _measure(point: dict[str, int], repeats: int) -> dict[tuple[str, str], float]:
    """Median seconds by (mode, form)."""
    clips = point["clips"]
    setting = replace(SETTINGS["charades"], num_videos=point["videos"], num_sentences=point["sentences per video"])
    options = [
        *("INPUT.NUM_PRE_CLIPS", str(2 * clips), "MODEL.MMN.NUM_CLIPS", str(clips)),
        *("MODEL.MMN.FEAT2D.POOLING_COUNTS", str(POOLING_COUNTS[clips])),
        *("MODEL.MMN.FEATPOOL.HIDDEN_SIZE", str(CHANNELS), "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", str(CHANNELS)),
        *("MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "4", "MODEL.MMN.JOINT_SPACE_SIZE", str(CHANNELS)),
    ]
    seconds = {}
    with tempfile.TemporaryDirectory() as encoder:
        for mode, whole in WHOLES.items():
            cfg = measured_config(setting, encoder, options)
            workload = Workload(cfg, setting, torch.device("cpu"), mode == "train")
            component = next(component for component in workload.components() if component.name == whole)
            timing = time_component(component, repeats, torch.device("cpu"))
            seconds[mode, "plain"] = statistics.median(timing.plain)
            seconds[mode, "ours"] = statistics.median(timing.ours)
    return seconds
