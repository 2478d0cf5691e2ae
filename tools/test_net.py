"""Evaluate a checkpoint: `python tools/test_net.py --config-file F --ckpt W [--dump FILE] [--partial] KEY VALUE ...`.

With `--sweep TEST.SCORE=product,iou TEST.NMS_THRESH=0.4,0.5 [--sweep-out FILE]` under every combination of these values,
for one forward pass.
"""

import argparse

import _path  # noqa: F401

from mmn.engine.run import start_run, sweep, test
from mmn.evaluation.map_file import MapRequest
from mmn.evaluation.score_sweep import SWEEPABLE, split_words
from mmn.utils.cli import run_tool


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("--ckpt", help="checkpoint; by default the best, else the last one of OUTPUT_DIR")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dump", metavar="FILE", help="write the predictions, one json line per sentence")
    what.add_argument("--sweep", nargs="+", metavar="KEY=V1,V2", help=f"values of {', '.join(SWEEPABLE)}")
    parser.add_argument("--sweep-out", metavar="FILE", help="write the sweep's table, .csv or .json")
    parser.add_argument("--dump-maps", metavar="FILE", help="write the score maps, for tools/visualize.py, as HDF5")
    parser.add_argument("--maps-first", type=int, metavar="N", help="write the maps of the first N sentences only")
    parser.add_argument(
        "--maps-of", type=numbers, metavar="N,N,...", help="write the maps of these sentences (qid) only"
    )
    parser.add_argument("--partial", action="store_true", help="load what fits the model, and say what does not")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()
    if args.dump_maps is None and (args.maps_first is not None or args.maps_of is not None):
        parser.error("--maps-first and --maps-of go with --dump-maps FILE")
    map_request = MapRequest(args.dump_maps, args.maps_first, args.maps_of) if args.dump_maps else None

    if bool(args.sweep_out) > bool(args.sweep) or (args.sweep and map_request):
        parser.error("--sweep-out goes with --sweep, and --dump-maps without it")
    settings, options = split_words(args.sweep or [])
    cfg, device = start_run(args.config_file, [*options, *args.options], training=False)
    if args.sweep:
        sweep(cfg, device, settings, args.ckpt, args.sweep_out, args.partial)
    else:
        test(cfg, device, args.ckpt, args.dump, args.partial, map_request)


if __name__ == "__main__":
    run_tool(main)
