"""The GPU's figures: training steps and evaluations of the released batch sizes, in each form that the network can take.

A form is named by its number format and its options; all are compared with the dense convolutions in float32, and with
the rate of a large matrix product in bfloat16, the most that the device can do.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.forms import Workload
from mmn.apps.benchmark.measure import count_gflop, matmul_tflops, seconds_of
from mmn.apps.benchmark.settings import measured_config
from mmn.engine.precision import set_tf32
from mmn.utils.markdown import markdown_table

IMPL = "MODEL.MMN.PREDICTOR.IMPL"
BF16 = ("SOLVER.AMP", "bf16", IMPL, "dense")
BASELINE = "float32"
COLUMNS = ("setting", "form", "step ms", "times float32", "TFLOP/s", "of bf16 rate", "evaluation ms", "peak MB")
SECONDS_PER_FORM = 6.0  # of measuring, after a warm-up


@dataclass(frozen=True)
class Form:
    """A way to run the network.

    Attributes:
        options: KEY VALUE pairs. tf32: allow it in matrix products. compiled: by `torch.compile`.
    """

    options: tuple[str, ...] = ("SOLVER.AMP", "off", IMPL, "dense")
    tf32: bool = False
    compiled: bool = False


FORMS = {
    BASELINE: Form(),
    "tf32": Form(tf32=True),
    "bf16": Form(BF16, tf32=True),
    "bf16 channels_last": Form((*BF16, "MODEL.MMN.PREDICTOR.CHANNELS_LAST", "True"), tf32=True),
    "bf16 compiled": Form(BF16, tf32=True, compiled=True),
    "fast": Form(("SOLVER.AMP", "bf16", IMPL, "fast"), tf32=True),
}


@dataclass(frozen=True)
class Figures:
    """Figures of one form.

    Attributes:
        step, evaluation: seconds of a training step and of an evaluation forward of the released batch.
        gflop: arithmetic of the step, as the dense form counts it.
        memory_mb: most memory that the step took on the device.
    """

    step: float
    evaluation: float
    gflop: float
    memory_mb: float


def print_gpu_table(settings: Sequence[str], encoder: str, options: Sequence[str], device: torch.device) -> dict:
    """Measure all forms of the settings on a device, print them as a table to paste, and return the figures.

    Args:
        encoder: folder for the text encoder's config. options: further KEY VALUE pairs.
    """
    rate = matmul_tflops(device, torch.bfloat16)
    print(
        f"{device_name(device)}, torch {torch.__version__}: {rate:.0f} TFLOP/s in bfloat16 matrix products", flush=True
    )
    rows, results = [], {"matmul_tflops": rate}
    for setting in settings:
        baseline = None
        for name, figures in _figures_of_forms(setting, encoder, options, device):
            if isinstance(figures, str):
                rows.append([setting, name, figures, *[""] * (len(COLUMNS) - 3)])
                continue
            baseline = figures if name == BASELINE else baseline
            rows.append(_row(setting, name, figures, baseline, rate))
            results[f"{setting}, {name}"] = vars(figures)
    print("\n".join(markdown_table(COLUMNS, rows)), flush=True)
    return results


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _row(setting: str, name: str, figures: Figures, baseline: Figures | None, rate: float) -> list[str]:
    tflops = figures.gflop / figures.step / 1e3
    return [
        setting,
        name,
        f"{1e3 * figures.step:.1f}",
        f"{baseline.step / figures.step:.1f}" if baseline else "",  # float32 may have failed
        f"{tflops:.1f}",
        f"{tflops / rate:.0%}",
        f"{1e3 * figures.evaluation:.1f}",
        f"{figures.memory_mb:.0f}",
    ]


def _figures_of_forms(
    setting: str, encoder: str, options: Sequence[str], device: torch.device
) -> Iterator[tuple[str, Figures | str]]:
    """The name of each form with its figures, or with what it failed of."""
    gflop = None
    for name, form in FORMS.items():
        set_tf32(form.tf32)
        try:
            figures = measure_form(setting, form, encoder, options, device, gflop)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            yield name, f"failed: {str(error).splitlines()[0][:60]}"
        else:
            gflop = figures.gflop
            yield name, figures


def measure_form(
    name: str, form: Form, encoder: str, options: Sequence[str], device: torch.device, gflop: float | None = None
) -> Figures:
    """The figures of a setting, whose batch is the released one, in one form.

    Args:
        gflop: arithmetic of the step where it is known already.
    """
    cfg = measured_config(SETTINGS[name], encoder, [*form.options, *options])
    workload = Workload(cfg, replace(SETTINGS[name], num_videos=cfg.SOLVER.BATCH_SIZE), device, training=True)
    gflop = gflop or count_gflop(workload.step)
    if form.compiled:
        workload.model = torch.compile(workload.model)
    if device.type == "cuda":  # the peak is this step's: not the count's, nor that of a form that failed before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = median_seconds(workload.step, device)
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    workload.model.eval()
    evaluation = median_seconds(torch.no_grad()(workload.forward), device)
    return Figures(step, evaluation, gflop, memory)


def median_seconds(function: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a call, over a few seconds of calls after two that do not count."""
    for _ in range(2):
        function()
    start, times = time.perf_counter(), []
    while not times or time.perf_counter() - start < SECONDS_PER_FORM / 2:
        times.append(seconds_of(function, device))
    return statistics.median(times)


def run_gpu_tests() -> bool:
    """Run the tests that need a GPU, where this is a checkout that has them; returns whether none failed."""
    root = Path(__file__).parents[3]
    if not (root / "tests" / "engine" / "test_gpu.py").exists():
        print("the tests of the GPU are in the repository, not in an installed package: skipped", flush=True)
        return True
    return not subprocess.run([sys.executable, "-m", "pytest", "-q", "tests/engine/test_gpu.py"], cwd=root).returncode
