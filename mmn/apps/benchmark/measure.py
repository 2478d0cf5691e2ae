"""Time, memory and arithmetic of two forms of one computation."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from mmn.apps.benchmark.forms import Component


@dataclass
class Timing:
    """Seconds of both forms, measured in turns, and how many arithmetic operations each counts.

    Attributes:
        plain, ours: one entry per repeat.
        plain_gflop, ours_gflop: multiply and add count as two; matrix products and convolutions only.
    """

    name: str
    plain: list[float]
    ours: list[float]
    plain_gflop: float
    ours_gflop: float

    @property
    def ratio(self) -> float:
        """Speed of ours over that of the plain form, by medians."""
        return statistics.median(self.plain) / statistics.median(self.ours)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and largest ratio of one turn."""
        ratios = [plain / ours for plain, ours in zip(self.plain, self.ours, strict=True)]
        return min(ratios), max(ratios)


def time_component(component: Component, repeats: int, device: torch.device) -> Timing:
    """Both forms in turns, after one run of each that does not count."""
    gflop = [count_gflop(component.plain), count_gflop(component.ours)]
    plain, ours = [], []
    for _ in range(repeats):
        plain.append(seconds_of(component.plain, device))
        ours.append(seconds_of(component.ours, device))
    return Timing(component.name, plain, ours, *gflop)


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call; short calls are repeated until they can be timed."""
    calls, seconds = 1, 0.0
    while True:
        _wait(device)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        _wait(device)
        seconds = time.perf_counter() - start
        if seconds > 0.05 or calls >= 64:
            return seconds / calls
        calls *= 4


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_gflop(function: Callable[[], object]) -> float:
    """GFLOP of one call, which also warms it up."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 1e9


def register_packed_linear() -> None:
    """Teach the counter the matrix product of oneDNN, with packed weights, that inference on a CPU uses."""
    packed = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
    if packed is None:
        return

    @register_flop_formula(packed)
    def linear_flop(input_shape, weight_shape, *_, out_shape=None, **__) -> int:
        return 2 * torch.Size(out_shape).numel() * input_shape[-1]


def peak_memory_of(module: str, arguments: list[str]) -> float:
    """Peak resident memory in MB of `python -m module arguments`, which prints it as its last line."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def matmul_tflops(device: torch.device, dtype: torch.dtype, size: int = 8192, repeats: int = 20) -> float:
    """The rate of a large square matrix product in TFLOP/s: what the device can do at best."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    _wait(device)
    return 2 * size**3 * repeats / (time.perf_counter() - start) / 1e12
