"""Compare prediction files query by query, whichever tools wrote them.

mmn compare A.jsonl B.jsonl
mmn compare A1 A2 A3 vs B1 B2 B3 vs C1 C2 C3       several files of one side (seeds), `vs` before the next side's

The first side is what the others are compared with. Sides with as many files are paired file by file.
"""

from argparse import Namespace

from mmn.apps.ablation.resampling import Resampling
from mmn.commands.frame import CommandParser, check_truth


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("files", type="path", nargs="+", help="two files, or groups of files with `vs` in between")
    parser.add_truth()
    recall = parser.add_mutually_exclusive_group()
    recall.add_argument("--thresholds", nargs="+", type=float, metavar="IOU", help="of the recall; default 0.3 0.5 0.7")
    recall.add_argument("--split", help="take the thresholds of this catalog entry, e.g. tacos_test")
    parser.add_argument(
        "--resamples", type=int, default=Resampling.count, help="of the bootstrap (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=Resampling.seed, help="of the bootstrap (default %(default)s)")
    parser.add_argument("--out", type="path", metavar="STEM", help="also write STEM.md, STEM.csv and STEM.png")
    parser.add_argument("--no-figure", action="store_true", help="do without matplotlib")


def run(args: Namespace) -> None:
    check_truth(args)

    from mmn.apps.ablation.ablation_command import compare_files
    from mmn.config.catalog_entries import CatalogEntry
    from mmn.config.paths_catalog import get_entry, load_catalog

    groups: list[list[str]] = [[]]
    for name in args.files:
        groups.append([]) if name == "vs" else groups[-1].append(name)
    if len(groups) == 1:
        groups = [[name] for name in args.files]
    thresholds = get_entry(args.split, load_catalog()).thresholds if args.split else args.thresholds
    resampling = Resampling(args.resamples, args.seed)
    truth = args.truth, args.missing_as_wrong
    compare_files(groups, thresholds or CatalogEntry.thresholds, resampling, args.out, not args.no_figure, *truth)
