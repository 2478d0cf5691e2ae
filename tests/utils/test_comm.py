"""Sharing rows between processes, and the device of a process."""

import pytest
import torch
from processes import run_in_group

from mmn.utils import comm
from mmn.utils.errors import ConfigError, UserError

COUNTS = [3, 1]


def rows_and_weights():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(sum(COUNTS), 2, generator=generator)
    return rows, torch.randn(2, sum(COUNTS), sum(COUNTS), generator=generator)


def loss_of(rows, weights):
    """Something in which every row meets every other."""
    return (weights * (rows @ rows.T).exp()).sum()


def gather_in_process(rank):
    rows, weights = rows_and_weights()
    own = rows.split(COUNTS)[rank].clone().requires_grad_()
    counts = comm.row_counts(len(own))
    gathered = comm.gather_rows(own, counts)
    loss_of(gathered, weights[rank]).backward()
    gradient = own.grad.clone()
    beside = torch.zeros_like(gathered).requires_grad_()
    copy = beside.clone()  # made before the gathered rows, so that its turn in the backward pass is after theirs
    ((comm.gather_rows(own, counts) + copy) * weights[rank, :, :2]).sum().backward()
    total = comm.sum_over_processes(torch.tensor([rank + 1]))
    return {
        "counts": counts,
        "rows": gathered.detach(),
        "gradient": gradient,
        "beside": beside.grad,
        "sum": total.item(),
        "objects": comm.all_gather_objects({"rank": rank}),
        "at the first": comm.gather_objects({"rank": rank}),
        "means": comm.mean_over_processes({"loss": torch.tensor(rank + 1.0), "rate": torch.tensor(3.0 * rank)}),
        "disagreement": disagreement(rank),
    }


def disagreement(rank):
    assert comm.agreed("file", "the processes see different files") == "file"
    with pytest.raises(UserError) as caught:
        comm.agreed(f"file {rank}", "the processes see different files")
    return str(caught.value)


@pytest.fixture(scope="module")
def results():
    return run_in_group(gather_in_process)


def test_rows_are_in_rank_order_on_every_process(results):
    for result in results:
        assert result["counts"] == COUNTS
        assert torch.equal(result["rows"], rows_and_weights()[0])


def test_gradient_of_a_row_is_that_of_all_processes_losses(results):
    rows, weights = rows_and_weights()
    rows.requires_grad_()
    (loss_of(rows, weights[0]) + loss_of(rows, weights[1])).backward()
    torch.testing.assert_close(torch.cat([result["gradient"] for result in results]), rows.grad)


def test_summing_a_gradient_leaves_that_of_other_leaves_alone(results):
    for result, weights in zip(results, rows_and_weights()[1], strict=True):
        assert torch.equal(result["beside"], weights[:, :2])


def test_values_and_objects_of_all_processes_arrive(results):
    assert [result["sum"] for result in results] == [3, 3]
    assert [result["objects"] for result in results] == [[{"rank": 0}, {"rank": 1}]] * 2


def test_objects_can_be_had_at_the_first_process_alone(results):
    assert [result["at the first"] for result in results] == [[{"rank": 0}, {"rank": 1}], []]


def test_means_are_over_all_processes(results):
    assert [result["means"] for result in results] == [{"loss": 1.5, "rate": 1.5}] * 2


def test_processes_that_found_different_things_say_so(results):
    for result in results:
        assert result["disagreement"].startswith("the processes see different files: put it on a file system")


def test_one_process_needs_no_group():
    rows = torch.randn(3, 2)
    assert comm.gather_rows(rows, comm.row_counts(len(rows))) is rows
    assert (comm.get_rank(), comm.get_world_size()) == (0, 1)
    assert comm.all_gather_objects("x") == ["x"]


@pytest.mark.parametrize("name", ["gpu", "xpu", "meta", "xla", "cuda:x", ""])
def test_device_that_is_not_supported_is_refused(name):
    with pytest.raises(ConfigError, match=f"the device is '{name}'.* use auto, cpu, cuda"):
        comm.choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_gpu_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="--device is 'cuda.* no NVIDIA GPU: use auto or cpu"):
        comm.resolve_device(name, "--device")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an Apple GPU")
def test_apple_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no Apple GPU: use auto or cpu"):
        comm.choose_device("mps")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert comm.choose_device("auto") == torch.device("cpu")
