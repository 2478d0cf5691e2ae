"""The table of a GPU's forms, on the CPU with a tiny network: what is measured, and that a form may fail."""

from functools import partial

import torch
from transformers import DistilBertConfig

from mmn.apps.benchmark import gpu, settings
from mmn.engine.precision import set_tf32

TINY = [
    *("MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "4", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "4"),
    *("MODEL.MMN.JOINT_SPACE_SIZE", "4", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "4", "SOLVER.BATCH_SIZE", "2"),
    *("MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "1"),
]


def test_every_form_has_a_row_and_one_that_fails_says_why(tmp_path, monkeypatch, capsys):
    def measure(name, form, *rest):
        if form.compiled:
            raise RuntimeError("no compiler\nat all")
        return measure_form(name, form, *rest)

    measure_form = gpu.measure_form
    monkeypatch.setattr(settings, "DistilBertConfig", partial(DistilBertConfig, dim=8, n_layers=1, n_heads=1))
    monkeypatch.setattr(gpu, "measure_form", measure)
    monkeypatch.setattr(gpu, "SECONDS_PER_FORM", 0.01)
    monkeypatch.setattr(gpu, "matmul_tflops", lambda device, dtype: 0.1)
    before = torch.get_float32_matmul_precision()
    try:
        results = gpu.print_gpu_table(["charades"], str(tmp_path), TINY, torch.device("cpu"))
    finally:
        set_tf32(False)
        torch.set_float32_matmul_precision(before)
    table = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(" | ")[1] for line in table[2:]] == list(gpu.FORMS)
    assert "| failed: no compiler |" in table[2 + list(gpu.FORMS).index("bf16 compiled")]
    assert set(results) == {"matmul_tflops", *(f"charades, {name}" for name in gpu.FORMS if name != "bf16 compiled")}
    assert all(figures["step"] > 0 < figures["gflop"] for name, figures in results.items() if name != "matmul_tflops")


def test_nothing_is_compared_with_a_float32_form_that_failed(monkeypatch, capsys):
    def measure(name, form, *rest):
        if form == gpu.FORMS[gpu.BASELINE]:
            raise RuntimeError("out of memory")
        return gpu.Figures(step=1.0, evaluation=1.0, gflop=1.0, memory_mb=1.0)

    monkeypatch.setattr(gpu, "measure_form", measure)
    monkeypatch.setattr(gpu, "set_tf32", lambda allowed: None)
    monkeypatch.setattr(gpu, "matmul_tflops", lambda device, dtype: 0.1)
    gpu.print_gpu_table(["charades"], "", [], torch.device("cpu"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[3:]]
    assert [row[gpu.COLUMNS.index("times float32")] for row in rows[1:]] == [""] * (len(gpu.FORMS) - 1)
