"""Write stand-in features for real annotation files.

mmn simulate-features --annotations dataset/Charades_STA/charades_*.json \\
    --out dataset/Charades_STA/simulated_features.hdf5 --dim 256 --noise 2

They rehearse the pipeline without the licensed features; results on them mean nothing.
"""

from argparse import Namespace

from mmn.apps.synthetic.options import SimulationOptions
from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--annotations", type="path", nargs="+", required=True, metavar="FILE", help="annotation json files"
    )
    parser.add_argument("--out", type="path", required=True, metavar="H5", help="feature file to write")
    parser.add_argument("--dim", type=int, required=True, help="feature dimensions")
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
    from mmn.apps.synthetic.simulated_features import simulate_features

    options = SimulationOptions(args.dim, args.noise, args.fps, args.seed, args.feature_key)
    simulate_features(args.annotations, args.out, options, text_encoder=args.text_encoder)
