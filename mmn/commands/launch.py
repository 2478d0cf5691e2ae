"""Start a training or a test on several processes with torchrun, after checking that it can start.

mmn launch --processes 2 train --config-file F KEY VALUE ...
mmn launch --processes 4 --nodes 2 --node-rank 0 --master-addr A --master-port 29500 train ...       on each machine
"""

import argparse
import os

from mmn.commands import test, train
from mmn.commands.frame import CommandParser, WrongArguments, build_parser

COMMANDS = {"train": train, "test": test}


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--processes", type=int, required=True, help="on this machine")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--node-rank", type=int, default=0, help="of this machine")
    parser.add_argument("--master-addr", default="127.0.0.1", help="of node 0")
    parser.add_argument("--master-port", type=int, help="on node 0; by default, with one machine, any that is free")
    parser.add_argument("--max-restarts", type=int, default=0, help="after a failure, continuing a training")
    parser.add_argument(
        "--default",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="a config key, unless the arguments set it",
    )
    parser.add_argument("tool", help="train or test, or the path tools/train_net.py or tools/test_net.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the tool")


def run(args: argparse.Namespace) -> None:
    if args.master_port is None and args.nodes > 1:
        raise WrongArguments("--master-port is needed with several machines: a port that is free on node 0")
    command = args.tool
    if command.endswith(".py"):  # a program that takes the arguments of one of the two
        command = "train" if "train" in os.path.basename(command) else "test"
    if command not in COMMANDS:
        raise WrongArguments(f"{args.tool!r} cannot be launched: give train or test")
    # The command's own parser says which of its arguments are KEY VALUE pairs; they come last.
    parser = build_parser(COMMANDS[command], command, "" if args.tool == command else os.path.basename(args.tool))
    parsed = parser.parse_args(args.arguments)
    given = COMMANDS[command].config_options(parsed)
    flags = args.arguments[: len(args.arguments) - len(given)]
    options = [word for pair in args.default for word in pair] + given

    from mmn.engine.launch import Program, free_port, launch
    from mmn.utils.program import MAIN_FILE

    path = [MAIN_FILE, command] if args.tool == command else [args.tool]
    launch(
        Program([*path, *flags, *options], parsed.config_file, options, training=command == "train"),
        args.processes,
        args.nodes,
        args.node_rank,
        args.master_addr,
        free_port() if args.master_port is None else args.master_port,
        args.max_restarts,
    )
