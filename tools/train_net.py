"""Train MMN: `python tools/train_net.py --config-file F [--skip-test] [--partial] KEY VALUE ...`, or under torchrun."""

import argparse

import _path  # noqa: F401

from mmn.engine.run import start_run, test, train
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("--skip-test", action="store_true", help="do not test the best checkpoint after training")
    parser.add_argument("--partial", action="store_true", help="of SOLVER.INIT_WEIGHTS, load what fits the model")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()

    cfg, device = start_run(args.config_file, args.options, training=True)
    train(cfg, device, args.partial, will_test=not args.skip_test)
    if not args.skip_test:
        test(cfg, device)


if __name__ == "__main__":
    run_tool(main)
