"""The benchmark: measure the settings, print the table, write json."""

import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence

import numpy as np
import torch
from terminaltables import AsciiTable

from mmn.apps.benchmark import data_loading as data
from mmn.apps.benchmark.batch_sizes import COMPONENTS, PARTS, SETTINGS
from mmn.apps.benchmark.feature_formats import format_rates, measure_formats
from mmn.apps.benchmark.first_searches import print_first_searches
from mmn.apps.benchmark.forms import Component, Workload
from mmn.apps.benchmark.gpu import print_gpu_table
from mmn.apps.benchmark.index_build import print_builds
from mmn.apps.benchmark.measure import Timing, peak_memory_of, register_packed_linear, time_component
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.benchmark.waiting import measure_waiting
from mmn.data.features import resample_clips
from mmn.reference import resample
from mmn.utils import comm
from mmn.utils.files import atomic_path
from mmn.utils.memory import reuse_freed_memory

COLUMNS = ("component", "plain s", "ours s", "ratio", "spread", "plain GFLOP", "ours GFLOP", "ours GFLOP/s")

VIDEOS_PER_FORMAT = 500
WAITING_COLUMNS = (
    "setting",
    "first batch after s",
    "waits, first epoch",
    "waits, later",
    "loader videos/s, first epoch",
    "loader videos/s, later",
)


def run_benchmark(
    settings: Sequence[str],
    modes: Sequence[str],
    repeats: int,
    options: list[str],
    json_path: str | None,
    parts: Collection[str] = tuple(PARTS),
) -> None:
    """Measure each setting in each mode ("eval", "train") on the CPU, and on the GPU where there is one.

    Args:
        repeats: turns per component. options: further KEY VALUE pairs. json_path: where all figures go.
        parts: names among PARTS, to be measured; a part that the modes do not have is left out.
    """
    reuse_freed_memory()
    register_packed_linear()
    results = {"machine": describe_machine(), "cpu": {}}
    print(results["machine"])
    parts = [part for part in parts if set(PARTS[part]) & set(modes)]
    if "data" in parts:
        results["data"] = measure_data(repeats)
    with tempfile.TemporaryDirectory() as encoder:
        for name in settings:
            for mode in modes:
                results["cpu"][f"{name} {mode}"] = measure_cpu(name, mode, repeats, encoder, options, parts)
        if "waiting" in parts:
            results["waiting"] = report_waiting(settings, encoder, options)
        if "index" in parts:
            results["index"] = print_builds(settings, repeats)
        if "first searches" in parts:
            results["first searches"] = report_first_searches(repeats)
        if "GPU" in parts:
            results["gpu"] = report_gpu(settings, encoder, options)
    if json_path:
        with atomic_path(json_path) as temporary, open(temporary, "w") as file:
            json.dump(results, file, indent=1)


def measure_data(repeats: int) -> dict:
    """Constructing a split of ActivityNet's size, each form in a process of its own, resampling one video, and reading
    each format of feature files."""
    with tempfile.TemporaryDirectory() as folder:
        data.write_split(folder)
        forms = {form: peak_of_construction(form, folder) for form in ("plain", "ours")}
    rows = np.random.default_rng(0).random((400, 4096), dtype=np.float32)
    resampling = Component(
        "resample 400 rows", lambda: resample(torch.from_numpy(rows), 256), lambda: resample_clips(rows, 256)
    )
    timing = time_component(resampling, repeats, torch.device("cpu"))
    print_timings("data", [timing])
    rates = measure_formats(VIDEOS_PER_FORMAT, repeats)
    print(format_rates(rates, VIDEOS_PER_FORMAT))
    for form, figures in forms.items():
        print(f"constructing 10009 videos, {form}: {figures['seconds']:.2f} s, {figures['memory_mb']:.0f} MB")
    return {"construction": forms, "resampling": _as_dict(timing), "formats": rates}


def peak_of_construction(form: str, folder: str) -> dict:
    """Seconds and MB of constructing the split in `folder`."""
    command = [sys.executable, "-m", "mmn.apps.benchmark.data_loading", form, folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def describe_machine() -> str:
    """Processor, threads and versions, for the head of the table."""
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def measure_cpu(name: str, mode: str, repeats: int, encoder: str, options: list[str], parts: Collection[str]) -> dict:
    """Time the components among the parts, and measure memory where it is one of them."""
    setting, device, result = SETTINGS[name], torch.device("cpu"), {}
    if any(mode in COMPONENTS.get(part, ()) for part in parts):
        workload = Workload(measured_config(setting, encoder, options), setting, device, mode == "train")
        components = (component for component in workload.components() if component.name in parts)
        timings = [time_component(component, repeats, device) for component in components]
        print_timings(
            f"{name}, {setting.num_videos} videos x {setting.num_sentences} sentences, {mode}, CPU float32", timings
        )
        result["timings"] = [_as_dict(timing) for timing in timings]
        del workload
    if "memory" not in parts:
        return result
    memory = {
        form: peak_memory_of("mmn.apps.benchmark.memory", [name, mode, form, encoder, *options])
        for form in ("plain", "ours")
    }
    print(
        f"peak memory, {name}, {mode}: plain {memory['plain']:.0f} MB, ours {memory['ours']:.0f} MB, "
        f"ratio {memory['ours'] / memory['plain']:.2f}\n",
        flush=True,
    )
    return {**result, "peak_memory_mb": memory}


def report_gpu(settings: Sequence[str], encoder: str, options: list[str]) -> dict:
    """Report the figures of the device that MODEL.DEVICE "auto" takes, where it is no CPU."""
    device = comm.resolve_device("auto")
    if device.type == "cpu":
        print("no GPU here: nothing was measured on one")
        return {}
    return print_gpu_table(settings, encoder, options, device)


def report_first_searches(repeats: int) -> list:
    """Report the first searches of an opened index, where the library of its engine is installed."""
    if importlib.util.find_spec("lancedb") is None:
        print("LanceDB is not installed (pip install .[search]): no searches were measured")
        return []
    return print_first_searches(repeats)


def report_waiting(settings: Sequence[str], encoder: str, options: list[str]) -> dict:
    """Report whether training waits for data, on the device that MODEL.DEVICE "auto" takes."""
    device = comm.resolve_device("auto")
    measured = {name: measure_waiting(SETTINGS[name], encoder, options, device) for name in settings}
    rows = [
        [name, f"{w.first_batch:.2f}", f"{w.first_wait:.2%}", f"{w.later_wait:.2%}"]
        + [f"{rate:.1f}" for rate in (w.first_rate, w.later_rate)]
        for name, w in measured.items()
    ]
    print(AsciiTable([list(WAITING_COLUMNS), *rows], f" waiting for data in training, {device} ").table, flush=True)
    return {name: waiting._asdict() for name, waiting in measured.items()}


def print_timings(title: str, timings: Sequence[Timing]) -> None:
    rows = []
    for timing in timings:
        plain, ours = statistics.median(timing.plain), statistics.median(timing.ours)
        low, high = timing.spread
        rows.append(
            [
                timing.name,
                f"{plain:.4g}",
                f"{ours:.4g}",
                f"{timing.ratio:.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{timing.plain_gflop:.1f}",
                f"{timing.ours_gflop:.1f}",
                f"{timing.ours_gflop / ours:.0f}",
            ]
        )
    print(AsciiTable([list(COLUMNS), *rows], f" {title} ").table, flush=True)


def _as_dict(timing: Timing) -> dict:
    return {**vars(timing), "ratio": timing.ratio, "spread": timing.spread}
