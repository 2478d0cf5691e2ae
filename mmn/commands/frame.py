"""The frame of a command: read its arguments first, then import what it needs and do the work."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from mmn.utils.cli import ending_with_the_reader, run_tool
from mmn.utils.paths import expand_user
from mmn.utils.version import VERSION


class WrongArguments(Exception):
    """Arguments that the command itself finds to be wrong, alone or together; the text says which.

    What a config, a file or a model shows to be wrong is a `UserError`, and so is a value that the called function refuses,
    which Python code can give it as well.
    """


class HelpWithDefaults(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Adds to each argument what it is by default."""


class CommandParser(argparse.ArgumentParser):
    """A parser with the arguments that several commands share.

    Attributes:
        takes_flags_anywhere: whether flags may stand between the words that are no flags. False where everything after
            the first such word belongs to it.
    """

    takes_flags_anywhere = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register("type", "path", expand_user)  # of every argument that may be the path of a file or folder

    def given_flags(self, args: argparse.Namespace) -> frozenset[str]:
        """The flags, and for words that are no flags their name in the help, whose values are not the default."""
        given = set()
        for action in self._actions:
            value = getattr(args, action.dest, None)
            if value != action.default and value not in (None, []):
                given.add(action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest))
        return frozenset(given)

    def add_config_file(self, needed: bool = True) -> None:
        self.add_argument(
            "--config-file",
            type="path",
            required=needed,
            metavar="F",
            help="yaml file, or a name that `mmn configs` lists"
            + ("" if needed else "; for a checkpoint that does not carry its config"),
        )

    def add_model(self, group: "argparse._ArgumentGroup | None" = None) -> None:
        """The model of a command that needs no trained one."""
        (group or self).add_argument(
            "--ckpt",
            type="path",
            metavar="W",
            help="a checkpoint, a model folder, or a name on the hub; or zero-shot:NAME, a dual encoder of images and text "
            "by its name or folder, or zero-shot:conse, which needs no network; by default "
            "zero-shot:openai/clip-vit-base-patch32, which was never trained to find moments",
        )

    def add_options(self) -> None:
        self.add_argument(
            "options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override, after the flags"
        )

    def add_truth(self) -> None:
        """Flags for prediction files whose true moments stand in a file of their own."""
        self.add_argument(
            "--truth",
            type="path",
            metavar="FILE",
            help="json lines with the true moments, where the predictions have none",
        )
        self.add_argument(
            "--missing-as-wrong",
            action="store_true",
            help="let queries of the truth that have no prediction count as wrong",
        )

    def add_mixed_options(self) -> None:
        self.takes_flags_anywhere = True
        self.add_argument("options", nargs="*", metavar="KEY VALUE", help="config keys to override")


def refuse_flags(args: argparse.Namespace, reason: str, *flags: str) -> None:
    """Raise WrongArguments, which gives the reason, where one of these flags is given: it would have no effect."""
    if given := [flag for flag in flags if flag in args.given]:
        raise WrongArguments(f"{reason}: leave out {', '.join(given)}")


def check_truth(args: argparse.Namespace) -> None:
    """Raise WrongArguments where `CommandParser.add_truth`'s flags lack the file that they are about."""
    if args.missing_as_wrong and not args.truth:
        raise WrongArguments("--missing-as-wrong goes with --truth FILE, which says what is missing")


def build_parser(module: ModuleType, name: str, tool: str) -> CommandParser:
    """The parser of a command's arguments.

    Args:
        module: the command's module in `mmn.commands`.
        name, tool: as for `run_command`.
    """
    parser = CommandParser(
        prog=tool or f"mmn {name}",
        description=_describe(module.__doc__ or "", name, tool),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def run_command(name: str, words: Sequence[str] | None = None, tool: str | None = None) -> None:
    """Do what a command's arguments ask for.

    Args:
        name: the command's name, e.g. "check-data".
        words: its arguments; by default those that this process was started with.
        tool: the file in tools/ by which it was started, for its help; by default that of this process, and "" for the
            command `mmn`.
    """
    words = sys.argv[1:] if words is None else list(words)
    tool = os.path.basename(sys.argv[0]) if tool is None else tool
    with ending_with_the_reader():
        _run(name, words, tool)


def _run(name: str, words: list[str], tool: str) -> None:
    if words[:1] == ["--version"]:
        print(f"mmn {VERSION}")
        return
    module = importlib.import_module(f"mmn.commands.{name.replace('-', '_')}")
    parser = build_parser(module, name, tool)
    args = parser.parse_intermixed_args(words) if parser.takes_flags_anywhere else parser.parse_args(words)
    args.given = parser.given_flags(args)
    try:
        run_tool(lambda: module.run(args))
    except WrongArguments as error:
        parser.error(str(error))


def _describe(text: str, name: str, tool: str) -> str:
    """A command's help, as it is started: docstrings have `mmn NAME` and, under torchrun, `-m mmn NAME`."""
    if not tool:
        return text
    return text.replace(f"-m mmn {name}", f"tools/{tool}").replace(f"mmn {name}", f"python tools/{tool}")
