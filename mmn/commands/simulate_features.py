"""Write stand-in features for real annotation files.

mmn simulate-features --annotations dataset/Charades_STA/charades_*.json \\
    --out dataset/Charades_STA/simulated_features.hdf5 --dim 256 --noise 2

With --layout they are written as others distribute them, for entries of the catalog:

mmn simulate-features --layout lighthouse --dataset qvhighlights --out dataset --noise 1

They rehearse the pipeline without the licensed features; results on them mean nothing.
"""

from argparse import Namespace

from mmn.apps.synthetic.options import LayoutOptions, SimulationOptions
from mmn.commands.frame import CommandParser, WrongArguments, refuse_flags
from mmn.config.distributed import DATASETS, LAYOUTS
from mmn.utils.paths import expand_user


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--annotations",
        type="path",
        nargs="+",
        default=[],
        metavar="FILE",
        help="annotation files; with --layout SPLIT=FILE, by default those that are in their place below --out",
    )
    parser.add_argument(
        "--out", type="path", required=True, metavar="PATH", help="feature file to write; with --layout DATASETS.ROOT"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="whose files are written, see dataset/README.md")
    parser.add_argument("--dataset", choices=DATASETS, help="with --layout: the dataset whose files are written")
    parser.add_argument("--dim", type=int, help="feature dimensions; a layout has its own")
    parser.add_argument("--noise", type=float, required=True, help="norm of a row's noise; a moment's signal is 1")
    parser.add_argument(
        "--fps", type=float, default=SimulationOptions.fps, help="rows per second (default %(default)g)"
    )
    parser.add_argument(
        "--feature-key",
        default=SimulationOptions.feature_key,
        help='key of a video in the file (default "%(default)s"; ActivityNet: "{vid}/c3d_features")',
    )
    parser.add_argument(
        "--seed", type=int, default=SimulationOptions.seed, help="the same seed gives the same features"
    )
    parser.add_argument(
        "--text-encoder", type="path", metavar="DIR", help="also write a small random text encoder there"
    )


def run(args: Namespace) -> None:
    if args.layout is not None:
        write_layout(args)
        return
    refuse_flags(args, "only a --layout has datasets", "--dataset")
    if args.dim is None or not args.annotations:
        raise WrongArguments("without --layout, --annotations and --dim are needed")

    from mmn.apps.synthetic.simulated_features import simulate_features

    options = SimulationOptions(args.dim, args.noise, args.fps, args.seed, args.feature_key)
    simulate_features(args.annotations, args.out, options, text_encoder=args.text_encoder)


def write_layout(args: Namespace) -> None:
    """Write the files of a layout, and print the catalog's entries that read them."""
    refuse_flags(args, "each --layout has its own widths, rates and keys", "--dim", "--fps", "--feature-key")
    if args.dataset is None:
        raise WrongArguments("--layout goes with --dataset: whose files are written")
    options = LayoutOptions(args.layout, args.dataset, args.noise, args.seed)
    splits = {split: expand_user(file) for split, _, file in (file.partition("=") for file in args.annotations)}
    if not all(splits.values()):
        raise WrongArguments(
            "with --layout, --annotations takes SPLIT=FILE, such as train=highlight_train_release.jsonl"
        )

    from mmn.apps.synthetic.layout_files import simulate_layout

    for name in simulate_layout(args.out, options, splits, text_encoder=args.text_encoder):
        print(name)
