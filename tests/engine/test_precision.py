"""Number formats and repeatable algorithms."""

import pytest
import torch

from mmn.engine.precision import autocast, refuse_compilation, set_deterministic, set_tf32
from mmn.utils.errors import ConfigError

CPU = torch.device("cpu")


@pytest.fixture
def restored():
    """Global switches, put back afterwards."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before[1:]
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16)])
def test_amp_sets_the_dtype_of_products(tiny_cfg, amp, dtype):
    tiny_cfg.SOLVER.AMP = amp
    with autocast(tiny_cfg, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_compiling_for_a_cpu_is_refused(tiny_cfg):
    refuse_compilation(tiny_cfg, CPU)
    tiny_cfg.SOLVER.COMPILE = True
    refuse_compilation(tiny_cfg, torch.device("cuda"))
    with pytest.raises(ConfigError, match="SOLVER.COMPILE is True, but the device is a CPU"):
        refuse_compilation(tiny_cfg, CPU)


@pytest.mark.parametrize("enabled", [True, False])
def test_tf32_is_allowed_and_forbidden(restored, enabled):
    set_tf32(enabled)
    assert torch.backends.cudnn.allow_tf32 is enabled
    assert (torch.get_float32_matmul_precision() == "high") is enabled


@pytest.mark.parametrize("enabled", [True, False])
def test_deterministic_algorithms_are_switched(restored, monkeypatch, enabled):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    set_deterministic(enabled)
    assert torch.are_deterministic_algorithms_enabled() is enabled
    assert torch.backends.cudnn.deterministic is enabled
