"""Convert a split of HC-STVG, from the challenge's annotations and the released pickles of tubes and features:

python tools/convert_stvg.py --split train --annotations train.json --tubes tubes/ \\
    --features csn=csn_train.pkl flow=flow_train.pkl --out dataset/HC_STVG
"""

import argparse

import _path  # noqa: F401

from mmn.apps.convert.stvg import convert_split, parse_tracks
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", required=True, help="name of the files to write, e.g. train, val or test")
    parser.add_argument("--annotations", required=True, metavar="JSON", help="the challenge's, with truth or without")
    parser.add_argument("--tubes", required=True, metavar="DIR", help="folder with <video>_tubes.pkl of every video")
    parser.add_argument(
        "--features",
        required=True,
        nargs="+",
        metavar="NAME=PKL",
        help="each feature track; its rows' frames must match",
    )
    parser.add_argument("--out", default="dataset/HC_STVG", metavar="DIR", help="folder to write (default %(default)s)")
    parser.add_argument("--skip-without-tubes", action="store_true", help="leave out videos that have no tube")
    args = parser.parse_args()
    tracks = parse_tracks(args.features)
    convert_split(args.annotations, args.tubes, tracks, args.out, args.split, args.skip_without_tubes)


if __name__ == "__main__":
    run_tool(main)
