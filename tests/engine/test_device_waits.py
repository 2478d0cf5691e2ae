"""A step on a device must not wait for the host, nor mix its tensors with the host's. The meta device stands for a GPU:
its tensors have no values, so that whatever would read one fails."""

from pathlib import Path

import pytest
import torch
from processes import ROOT
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmn.config import load_config
from mmn.engine.tasks import find_task
from mmn.engine.update import WeightUpdate
from mmn.structures.batch import Batch, GroundingBatch, RowLayout, TubeBatch
from mmn.structures.proposals import ProposalCells

DEVICE = torch.device("meta")
TEXT_ENCODER = str(ROOT / "tests" / "golden" / "bert")
RELEASED = [str(path) for path in sorted((ROOT / "configs").glob("*_*x*_k*.yaml"))]
COUNTS = (3, 1, 2)


class NoWaits(TorchDispatchMode):
    """Refuses operations that would make the host wait for the device, or mix the tensors of the two."""

    READS = ("aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::_unique2")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_device = [tensor for tensor in tensors if tensor.device == DEVICE]
        on_host = [tensor for tensor in tensors if tensor.device != DEVICE and tensor.dim()]
        name = function.name().split(".")[0]
        assert not (on_device and name in self.READS), f"{function} reads from the device"
        assert not (on_device and on_host), f"{function} mixes the device with the host"
        if on_host and kwargs.get("device") == DEVICE:
            assert kwargs.get("non_blocking"), f"{function} waits for a copy to the device"
        return function(*args, **kwargs)


class NoTensorsFromLists(TorchFunctionMode):
    """Refuses `torch.tensor(values, device=...)`, which copies from the host and waits."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_scalar = not isinstance(args[0], (list, tuple)) if args else True
        assert function is not torch.tensor or kwargs.get("device") != DEVICE or is_scalar, "a tensor from a list"
        return function(*args, **kwargs)


@pytest.fixture(scope="module")
def glove(tmp_path_factory):
    """A file of word vectors as wide as 2D-TAN's."""
    path = tmp_path_factory.mktemp("words") / "glove.txt"
    path.write_text(f"word {' '.join(['0.5'] * 300)}\n")
    return str(path)


def full_config(path: str, *options: str):
    return load_config(path, ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", TEXT_ENCODER, *options])


def batch_of(cfg, moments_each: int) -> Batch:
    """A batch of three videos on the device, of the shapes that the config asks for."""
    layout, is_tubes = RowLayout.from_counts(COUNTS), cfg.MODEL.ARCHITECTURE == "STVG"
    words = torch.zeros(sum(COUNTS), 8, cfg.MODEL.TAN2D.TEXT.EMBEDDING_SIZE)
    num_sentences = len(COUNTS) if is_tubes else sum(COUNTS)
    num_rows = sum(COUNTS) if is_tubes else len(COUNTS)
    size = cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE
    common = {
        "feats": torch.zeros(num_rows, cfg.INPUT.NUM_PRE_CLIPS, size if isinstance(size, int) else sum(size)),
        "tokens": words if cfg.MODEL.ARCHITECTURE == "TAN2D" else torch.ones(num_sentences, 8, dtype=torch.int64),
        "token_mask": torch.ones(num_sentences, 8, dtype=torch.int64),
        "token_rows": torch.arange(num_sentences),
        "sentence_ids": torch.arange(num_sentences),
        "video_ids": [f"video_{number}" for number in range(len(COUNTS))],
    }
    if is_tubes:
        cells = ProposalCells(cfg.MODEL.MMN.NUM_CLIPS, cfg.MODEL.MMN.FEAT2D.POOLING_COUNTS)
        lengths, ious = torch.full((num_rows,), 20), torch.zeros(num_rows, len(cells))
        return TubeBatch(**common, tubes=layout, lengths=lengths, ious=ious).to(DEVICE)
    windows = RowLayout.from_counts([moments_each] * num_sentences)
    return GroundingBatch(
        **common,
        layout=layout,
        moments=torch.zeros(sum(windows.counts), 2),
        moment_layout=windows,
        durations=torch.ones(len(COUNTS)),
    ).to(DEVICE)


class CountingGuard:
    """In the place of the guard against values that are not finite, whose fused optimizer the meta device lacks."""

    def remember_buffers(self, model: nn.Module) -> None: ...

    def step(self, *args) -> bool:
        return True


def run_steps(cfg, num_steps: int = 2, moments_each: int = 1) -> None:
    """Some updates, then the ranking of a batch, on the device."""
    task = find_task(cfg)
    model = task.build_model(cfg, False)
    for part in model.modules():  # what is made from values, once
        for name in {"takes_pairs", "fast_stack"} & set(dir(type(part))):
            assert getattr(part, name)
    model = model.to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    update = WeightUpdate(cfg, task.training, model, task.build_criterion(cfg), optimizer, DEVICE)
    update.guard = CountingGuard()
    ranker, batch = task.build_ranker(cfg), batch_of(cfg, moments_each)
    update.begin_epoch(1)
    update([batch] * cfg.SOLVER.ACCUMULATE, 1, "warm up")  # what is copied to a device once is there now
    with torch.no_grad():
        ranker(model.eval()(batch), batch)
    with NoWaits(), NoTensorsFromLists():
        update.begin_epoch(1)
        for _ in range(num_steps):
            update([batch] * cfg.SOLVER.ACCUMULATE, 1, "checked")
        with torch.no_grad():
            ranker(model.eval()(batch), batch)


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: Path(path).stem)
def test_no_released_setting_waits_for_the_device(path, glove):
    run_steps(full_config(path, "MODEL.TAN2D.TEXT.GLOVE", glove))


@pytest.mark.parametrize(
    "options",
    [
        ["MODEL.MMN.LOSS.MEMORY_BANK", "4"],
        ["SOLVER.ACCUMULATE", "2"],
        ["MODEL.MMN.PREDICTOR.IMPL", "fast"],
        ["MODEL.MMN.PREDICTOR.CHECKPOINT_ACTIVATIONS", "True", "MODEL.MMN.PREDICTOR.IMPL", "dense"],
        ["TEST.SCORE", "contrastive"],
    ],
    ids=lambda options: " ".join(option.split(".")[-1] for option in options),
)
def test_no_option_waits_for_the_device(options):
    run_steps(full_config(str(ROOT / "configs" / "pool_charades_16x16_k5l8.yaml"), *options), num_steps=4)


def test_several_moments_of_a_sentence_wait_for_nothing():
    run_steps(full_config(str(ROOT / "configs" / "pool_charades_16x16_k5l8.yaml")), moments_each=2)


def test_a_wait_would_be_noticed():
    values = torch.zeros(3, device=DEVICE)
    for wait in (
        lambda: values + torch.zeros(3),
        lambda: torch.zeros(3).to(DEVICE),
        lambda: torch.equal(values, values),
    ):
        with NoWaits(), pytest.raises(AssertionError):
            wait()
    for read in (lambda: values.sum().item(), lambda: values[values > 0], lambda: values.cpu()):
        with NoWaits(), pytest.raises((AssertionError, RuntimeError)):
            read()
