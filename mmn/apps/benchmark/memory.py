"""Run one form a few times in a process of its own and print its peak memory in MB.

python -m mmn.apps.benchmark.memory SETTING train|eval plain|ours ENCODER_FOLDER [KEY VALUE ...]
"""

import sys

import torch

from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.forms import Workload
from mmn.apps.benchmark.settings import measured_config
from mmn.utils.memory import peak_memory_mb, reuse_freed_memory


def main() -> None:
    name, mode, form, encoder_folder, *options = sys.argv[1:]
    reuse_freed_memory()
    setting, device = SETTINGS[name], torch.device("cpu")
    workload = Workload(measured_config(setting, encoder_folder, options), setting, device, mode == "train")
    wholes = {
        ("train", "plain"): workload.plain_step,
        ("train", "ours"): workload.step,
        ("eval", "plain"): torch.no_grad()(workload.plain_forward),
        ("eval", "ours"): torch.no_grad()(workload.forward),
    }
    for _ in range(2):
        wholes[mode, form]()
    print(peak_memory_mb(device))


if __name__ == "__main__":
    main()
