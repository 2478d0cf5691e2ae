"""Make the small synthetic HC-STVG dataset: `python tools/make_synthetic_stvg.py --out dataset/synthetic_stvg`."""

import argparse

import _path  # noqa: F401

from mmn.apps.synthetic.synthetic_tubes import SyntheticStvgOptions, write_synthetic_stvg, write_videos
from mmn.utils.cli import run_tool


def main() -> None:
    default = SyntheticStvgOptions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", default="dataset/synthetic_stvg", help="folder to write")
    parser.add_argument("--videos-train", type=int, default=default.num_train, help="videos of the train split")
    parser.add_argument("--videos-val", type=int, default=default.num_val, help="videos of the val split")
    parser.add_argument("--videos-test", type=int, default=default.num_test, help="videos of the test split")
    parser.add_argument("--dim", type=int, default=default.dim, help="dimensions of each feature track")
    parser.add_argument("--noise", type=float, default=default.noise, help="norm of a row's noise; a concept's is 1")
    parser.add_argument("--render", type=int, default=0, metavar="N", help="also draw the first N test videos as mp4")
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same files")
    args = parser.parse_args()
    options = SyntheticStvgOptions(
        num_train=args.videos_train,
        num_val=args.videos_val,
        num_test=args.videos_test,
        dim=args.dim,
        noise=args.noise,
        seed=args.seed,
    )
    write_synthetic_stvg(args.out, options)
    if args.render:
        write_videos(f"{args.out}/videos", "test", args.render, args.seed)


if __name__ == "__main__":
    run_tool(main)
