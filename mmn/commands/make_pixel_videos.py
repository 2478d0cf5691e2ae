"""Render the small videos of shapes, with sentences and times.

mmn make-pixel-videos --out dataset/pixels
"""

from argparse import Namespace

from mmn.apps.synthetic.options import ShapeOptions
from mmn.commands.frame import CommandParser, HelpWithDefaults


def add_arguments(parser: CommandParser) -> None:
    default = ShapeOptions()
    parser.formatter_class = HelpWithDefaults
    parser.add_argument("--out", type="path", default="dataset/pixels", help="folder to write")
    parser.add_argument("--videos-train", type=int, default=default.num_train, help="videos of the train split")
    parser.add_argument("--videos-val", type=int, default=default.num_val, help="videos of the val split")
    parser.add_argument("--videos-test", type=int, default=default.num_test, help="videos of the test split")
    parser.add_argument("--size", type=int, default=default.size, help="height and width in pixels")
    parser.add_argument("--fps", type=float, default=default.fps, help="frames per second")
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same videos")
    parser.add_argument("--workers", type=int, default=default.workers, help="threads that render")


def run(args: Namespace) -> None:
    from mmn.apps.synthetic.shape_dataset import write_shape_dataset

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
