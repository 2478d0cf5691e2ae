"""List the configs that come with the package, by the names that --config-file takes.

mmn configs [NAME]
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="instead, print the path of this one")


def run(args: Namespace) -> None:
    from mmn.config.packaged import config_names, find_config

    if args.name:
        print(find_config(args.name))
        return
    for stem, short in config_names().items():
        print(f"{stem:<36} {short or ''}".rstrip())
