"""Processes that stop together when one of them is told to."""

import torch
import torch.distributed as dist

from mmn.utils import comm
from mmn.utils.preemption import received_signal


class StopAgreement:
    """Lets all processes stop after the same iteration when one of them gets a signal.

    The word travels beside the training: each iteration starts an exchange whose answer the next one reads, so that
    nobody waits for it and no device is asked.
    """

    def __init__(self):
        self.group = dist.new_group(backend="gloo") if comm.get_world_size() > 1 else None
        self.flag = torch.zeros(1, dtype=torch.int32)
        self.exchange: dist.Work | None = None

    def poll(self) -> bool:
        """Tell whether all processes are to stop now; called by all of them after an iteration."""
        if self.group is None:
            return received_signal() is not None
        is_agreed = self._answer()
        self.flag.fill_(received_signal() is not None)
        self.exchange = dist.all_reduce(self.flag, dist.ReduceOp.MAX, group=self.group, async_op=True)
        return is_agreed

    def settle(self) -> bool:
        """`poll` where there is time to wait for the answer, between epochs."""
        was_agreed = self.poll()
        return self._answer() or was_agreed

    def _answer(self) -> bool:
        if self.exchange is None:
            return False
        self.exchange.wait()
        self.exchange = None
        return bool(self.flag.item())
