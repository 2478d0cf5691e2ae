"""Tell what a dataset gives away without looking, and which sentences come twice; tables as markdown.

mmn probe --config-file F [F ...] [--predictions FILE ...] [--out docs/PROBES.md] [--options KEY VALUE ...]
mmn probe --config-file F --ckpt W      a trained model with shuffled sentences and with shuffled videos
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments, check_truth, refuse_flags


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--config-file",
        type="path",
        nargs="+",
        required=True,
        metavar="F",
        help="yaml files, or names that `mmn configs` lists",
    )
    parser.add_argument(
        "--predictions", type="path", nargs="+", default=[], metavar="FILE", help="shown beside the priors"
    )
    parser.add_truth()
    parser.add_argument("--ckpt", type="path", metavar="W", help="a checkpoint to run with one input shuffled")
    parser.add_argument("--out", type="path", metavar="MD", help="write the tables there instead of printing them")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")


def run(args: Namespace) -> None:
    if (args.ckpt or args.predictions) and len(args.config_file) > 1:
        raise WrongArguments("--ckpt and --predictions belong to one dataset: give one --config-file with them")
    if args.ckpt and args.predictions:
        raise WrongArguments("--ckpt and --predictions make different tables: give them one after the other")
    if not args.predictions:
        refuse_flags(args, "only --predictions are held against a truth", "--truth", "--missing-as-wrong")
    check_truth(args)

    from mmn.apps.probes.probe_tables import INTRODUCTION, build_probe, control_lines, describe
    from mmn.apps.probes.shuffled_controls import run_controls
    from mmn.config import load_config
    from mmn.engine.run import start_run
    from mmn.utils.files import atomic_path

    if args.ckpt:
        cfg, device = start_run(args.config_file[0], args.options, training=False, ckpt=args.ckpt)
        text = "\n".join(control_lines(run_controls(cfg, device, args.ckpt)))
    else:
        probes = [build_probe(load_config(path, args.options)) for path in args.config_file]
        predictions = {path: path for path in args.predictions}
        sections = [describe(probe, predictions, args.truth, args.missing_as_wrong) for probe in probes]
        text = "\n".join([INTRODUCTION, *sections] if args.out else sections)
    if args.out is None:
        print(text)
        return
    with atomic_path(args.out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
