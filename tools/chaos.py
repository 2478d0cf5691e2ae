"""Kill a small run at random times, continue it, and compare its end to an undisturbed run's, bit for bit.

python tools/chaos.py --kills 20 --processes 2
"""

import argparse
import tempfile
from pathlib import Path

import _path  # noqa: F401

from mmn.apps.benchmark.chaos import ChaosReport, ChaosRun, run_chaos
from mmn.apps.synthetic.synthetic_moments import SyntheticOptions, write_synthetic_dataset
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError

EPOCHS, CHECKPOINT_ITERS = 4, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--kills-per-run", type=int, default=4, help="then a run may end and is compared")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        options = SyntheticOptions(num_train=64, num_val=8, num_test=2)
        write_synthetic_dataset(root / "synthetic", options, log=lambda line: None)
        report = run_chaos(
            lambda output: ChaosRun(_arguments(root, args.options), args.processes, output, EPOCHS, "pool"),
            Path(folder) / "runs",
            args.kills,
            args.kills_per_run,
            args.seed,
        )
    _summarise(report)


def _arguments(root: Path, options: list[str]) -> list[str]:
    values = {
        "DATASETS.ROOT": root,
        "MODEL.DEVICE": "cpu",
        "MODEL.MMN.TEXT_ENCODER.PRETRAINED": root / "synthetic" / "text_encoder",
        "SOLVER.BATCH_SIZE": 4,
        "SOLVER.MAX_EPOCH": EPOCHS,
        "SOLVER.TEST_PERIOD": 1,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "SOLVER.CHECKPOINT_ITERS": CHECKPOINT_ITERS,
        "SOLVER.LOG_PERIOD": 3,
        "TEST.BATCH_SIZE": 4,
    }
    pairs = [str(part) for pair in values.items() for part in pair]
    return ["--config-file", "configs/synthetic.yaml", "--skip-test", *pairs, *options]


def _summarise(report: ChaosReport) -> None:
    kills = report.kills
    slowest = max((kill.seconds for kill in kills), default=0.0)
    print(f"{len(kills)} kills in {report.num_runs} runs; the slowest end took {slowest:.1f} s")
    if report.differences:
        raise UserError(
            f"{len(report.differences)} differences to the undisturbed run, the first {report.differences[0]}: "
            "resuming is not exact here, please report it"
        )
    print("weights, optimizer, best checkpoint and metrics are identical to the undisturbed run's")


if __name__ == "__main__":
    run_tool(main)
