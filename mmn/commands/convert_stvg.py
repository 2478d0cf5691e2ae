"""Convert a split of HC-STVG from the files as they are released.

mmn convert-stvg --split train --annotations train.json --tubes tubes/ \\
    --features csn=csn_train.pkl flow=flow_train.pkl --out dataset/HC_STVG
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--split", required=True, help="name of the files to write, e.g. train, val or test")
    parser.add_argument(
        "--annotations", type="path", required=True, metavar="JSON", help="the challenge's, with truth or without"
    )
    parser.add_argument(
        "--tubes", type="path", required=True, metavar="DIR", help="folder with <video>_tubes.pkl of every video"
    )
    parser.add_argument(
        "--features",
        type="path",
        required=True,
        nargs="+",
        metavar="NAME=PKL",
        help="each feature track; its rows' frames must match",
    )
    parser.add_argument(
        "--out", type="path", default="dataset/HC_STVG", metavar="DIR", help="folder to write (default %(default)s)"
    )
    parser.add_argument("--skip-without-tubes", action="store_true", help="leave out videos that have no tube")


def run(args: Namespace) -> None:
    from mmn.apps.convert.stvg import convert_split, parse_tracks

    tracks = parse_tracks(args.features)
    convert_split(args.annotations, args.tubes, tracks, args.out, args.split, args.skip_without_tubes)
