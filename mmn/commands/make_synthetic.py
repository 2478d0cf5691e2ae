"""Make the small synthetic dataset.

mmn make-synthetic --out dataset/synthetic
mmn make-synthetic --long mad --out dataset          # hours of them joined, in the layout of MAD or Ego4D
"""

from argparse import Namespace

from mmn.apps.synthetic.options import SyntheticOptions
from mmn.commands.frame import CommandParser, HelpWithDefaults, refuse_flags

SHORT = ("--videos-train", "--videos-val", "--videos-test", "--dim", "--rate", "--noise")  # flags of videos of minutes


def add_arguments(parser: CommandParser) -> None:
    default = SyntheticOptions()
    parser.formatter_class = HelpWithDefaults
    parser.add_argument("--out", type="path", default="dataset/synthetic", help="folder to write")
    parser.add_argument("--videos-train", type=int, default=default.num_train, help="videos of the train split")
    parser.add_argument("--videos-val", type=int, default=default.num_val, help="videos of the val split")
    parser.add_argument("--videos-test", type=int, default=default.num_test, help="videos of the test split")
    parser.add_argument("--long", choices=["mad", "ego4d"], help="join videos to long ones in this layout instead")
    parser.add_argument(
        "--long-videos", type=int, nargs=3, default=[4, 1, 2], metavar=("TRAIN", "VAL", "TEST"), help="number of these"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="length of these")
    parser.add_argument("--dim", type=int, default=default.dim, help="feature dimensions")
    parser.add_argument("--rate", type=float, default=default.rows_per_second, help="feature rows per second")
    parser.add_argument("--noise", type=float, default=default.noise, help="norm of a row's noise; a concept's is 1")
    parser.add_argument("--seed", type=int, default=default.seed, help="the same seed gives the same files")


def run(args: Namespace) -> None:
    from mmn.apps.synthetic.joined_videos import write_long_videos
    from mmn.apps.synthetic.synthetic_moments import SPLITS, write_synthetic_dataset

    if args.long:
        refuse_flags(args, "--long has its own videos, rows and noise", *SHORT)
        counts = dict(zip(SPLITS, args.long_videos, strict=True))
        print(
            f"{args.out} has {', '.join(write_long_videos(args.out, args.long, counts, 60 * args.minutes, args.seed))}"
        )
        return
    refuse_flags(args, "only --long joins videos", "--long-videos", "--minutes")
    options = SyntheticOptions(
        num_train=args.videos_train,
        num_val=args.videos_val,
        num_test=args.videos_test,
        dim=args.dim,
        rows_per_second=args.rate,
        noise=args.noise,
        seed=args.seed,
    )
    write_synthetic_dataset(args.out, options)
