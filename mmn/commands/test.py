"""Test a checkpoint on the test splits of a config.

mmn test --config-file F --ckpt W [--dump FILE] [--metrics NAME] [--official-out FILE] [--partial] KEY VALUE ...
mmn test --config-file F --ckpt W --sweep TEST.SCORE=product,iou TEST.NMS_THRESH=0.4,0.5 [--sweep-out FILE]

--sweep scores under every combination of these values, for one forward pass.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments
from mmn.config import load_config
from mmn.evaluation.sweep_words import SWEEPABLE, split_words
from mmn.structures.metric_names import METRICS


def qids(text: str) -> tuple[str, ...]:
    return tuple(qid.strip() for qid in text.split(","))


def add_arguments(parser: CommandParser) -> None:
    parser.add_config_file()
    parser.add_argument(
        "--ckpt",
        type="path",
        help="checkpoint, model folder, or name on the hub; by default the best, else the last checkpoint of OUTPUT_DIR",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dump", type="path", metavar="FILE", help="write the predictions, one json line per sentence")
    what.add_argument("--sweep", nargs="+", metavar="KEY=V1,V2", help=f"values of {', '.join(SWEEPABLE)}")
    parser.add_argument("--sweep-out", type="path", metavar="FILE", help="write the sweep's table, .csv or .json")
    parser.add_argument(
        "--metrics", choices=METRICS, help="score by these; default: those of the split's catalog entry"
    )
    parser.add_argument(
        "--official-out",
        type="path",
        metavar="FILE.json",
        help="file for metrics beyond recall; default <split>_official_metrics.json in OUTPUT_DIR",
    )
    parser.add_argument(
        "--dump-maps", type="path", metavar="FILE", help="write the score maps, for `mmn visualize`, as HDF5"
    )
    parser.add_argument("--maps-first", type=int, metavar="N", help="write the maps of the first N sentences only")
    parser.add_argument(
        "--maps-of", type=qids, metavar="QID,QID,...", help="write the maps of these sentences (qid) only"
    )
    parser.add_argument(
        "--metrics-out", type="path", metavar="FILE.json", help="write the metrics and counts, for `mmn export`"
    )
    parser.add_argument("--partial", action="store_true", help="load what fits the model, and say what does not")
    parser.add_options()


def config_options(args: Namespace) -> list[str]:
    """KEY VALUE pairs among the arguments; --sweep takes all words up to the next flag, these too."""
    return split_words(args.sweep or [])[1] + args.options


def run(args: Namespace) -> None:
    if args.dump_maps is None and (args.maps_first is not None or args.maps_of is not None):
        raise WrongArguments("--maps-first and --maps-of go with --dump-maps FILE")
    if bool(args.sweep_out) > bool(args.sweep) or (args.sweep and args.dump_maps):
        raise WrongArguments("--sweep-out goes with --sweep, and --dump-maps without it")
    if args.sweep and (args.metrics or args.official_out):
        raise WrongArguments("a sweep is scored by recall: leave out --metrics and --official-out")
    if args.metrics_out and args.sweep:
        raise WrongArguments("--metrics-out goes without --sweep, whose table --sweep-out writes")
    settings, options = split_words(args.sweep or [])[0], config_options(args)

    load_config(args.config_file, options)  # a mistake in it is told before the libraries are loaded

    from mmn.engine.run import start_run, sweep, test
    from mmn.evaluation.map_file import MapRequest

    cfg, device = start_run(args.config_file, options, training=False, ckpt=args.ckpt)
    if args.sweep:
        sweep(cfg, device, settings, args.ckpt, args.sweep_out, args.partial)
    else:
        maps = MapRequest(args.dump_maps, args.maps_first, args.maps_of) if args.dump_maps else None
        test(cfg, device, args.ckpt, args.dump, args.partial, maps, args.metrics_out, args.metrics, args.official_out)
