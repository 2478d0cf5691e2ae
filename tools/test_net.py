"""Evaluate a checkpoint: `python tools/test_net.py --config-file F --ckpt W [--dump FILE] KEY VALUE ...`."""

import argparse

import _path  # noqa: F401

from mmn.engine.map_file import MapRequest
from mmn.engine.run import start_run, test
from mmn.utils.cli import run_tool


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", required=True, help="yaml file, see configs/")
    parser.add_argument("--ckpt", help="checkpoint; by default the best, else the last one of OUTPUT_DIR")
    parser.add_argument("--dump", metavar="FILE", help="write the predictions, one json line per sentence")
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

    cfg, device = start_run(args.config_file, args.options, training=False)
    test(cfg, device, args.ckpt, args.dump, args.partial, map_request)


if __name__ == "__main__":
    run_tool(main)
