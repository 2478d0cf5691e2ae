"""Render the small videos of shapes, with sentences and times: `python tools/make_pixel_videos.py --out dataset/pixels`."""

import argparse

import _path  # noqa: F401

from mmn.apps.synthetic.shape_dataset import ShapeOptions, write_shape_dataset
from mmn.utils.cli import run_tool


def main() -> None:
    default = ShapeOptions()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", default="dataset/pixels", help="folder to write")
    parser.add_argument("--videos-train", type=int, default=default.num_train, help="videos of the train split")
    parser.add_argument("--videos-val", type=int, default=default.num_val, help="videos of the val split")
    parser.add_argument("--videos-test", type=int, default=default.num_test, help="videos of the test split")
    parser.add_argument("--size", type=int, default=default.size, help="height and width in pixels")
    parser.add_argument("--fps", type=float, default=default.fps, help="frames per second")
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same videos")
    parser.add_argument("--workers", type=int, default=default.workers, help="threads that render")
    args = parser.parse_args()
    options = ShapeOptions(
        num_train=args.videos_train,
        num_val=args.videos_val,
        num_test=args.videos_test,
        size=args.size,
        fps=args.fps,
        seed=args.seed,
        workers=args.workers,
    )
    write_shape_dataset(args.out, options)


if __name__ == "__main__":
    run_tool(main)
