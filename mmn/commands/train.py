"""Train the model of a config, then test its best checkpoint.

mmn train --config-file F [--skip-test] [--partial] KEY VALUE ...
torchrun --nproc_per_node 2 -m mmn train --config-file F ...      # several processes; `mmn launch` checks first
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, refuse_flags
from mmn.config import load_config


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_argument("--skip-test", action="store_true", help="do not test the best checkpoint after training")
    parser.add_argument("--partial", action="store_true", help="of SOLVER.INIT_WEIGHTS, load what fits the model")
    parser.add_options()


def config_options(args: Namespace) -> list[str]:
    """KEY VALUE pairs among the arguments."""
    return args.options


def run(args: Namespace) -> None:
    cfg = load_config(args.config_file, args.options)  # a mistake in it is told before the libraries are loaded
    if not cfg.SOLVER.INIT_WEIGHTS:
        refuse_flags(args, "without SOLVER.INIT_WEIGHTS no weights are loaded", "--partial")

    from mmn.engine.run import start_run, test, train

    cfg, device = start_run(args.config_file, args.options, training=True)
    train(cfg, device, args.partial, will_test=not args.skip_test)
    if not args.skip_test:
        test(cfg, device)
