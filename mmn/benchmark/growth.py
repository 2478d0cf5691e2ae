"""How the cost of both forms grows with the size of the map, the sentences per video and the videos per batch."""

import statistics
import tempfile
from dataclasses import replace

import torch

from mmn.benchmark.forms import Workload
from mmn.benchmark.measure import time_component
from mmn.benchmark.settings import SETTINGS, measured_config
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.memory import reuse_freed_memory

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
    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (quantity, values) in zip(figure.subplots(1, 3), RANGES.items(), strict=True):
        measured = {value: _measure({**BASE, quantity: value}, repeats) for value in values}
        for mode, color in (("train", "tab:blue"), ("eval", "tab:orange")):
            for form, style in (("plain", "--"), ("ours", "-")):
                seconds = [measured[value][mode, form] for value in values]
                axes.plot(values, seconds, style, color=color, marker="o", label=f"{WHOLES[mode]}, {form}")
        axes.set(xscale="log", yscale="log", xlabel=quantity, ylabel="seconds")
        axes.set_xticks(values, map(str, values))
        axes.grid(alpha=0.3)
        print(quantity, measured, flush=True)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


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
