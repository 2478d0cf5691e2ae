"""Write a model to hand on: a folder with weights, config, tokenizer and card, which opens on any machine.

mmn export --ckpt W --out FOLDER [--metrics metrics.json] [--predictions P --maps M] [--push user/model]
mmn export --ckpt released.pth --config-file charades --out FOLDER
mmn export --ckpt W --out FILE.safetensors               the weights alone, with config and git revision as metadata

docs/WEIGHTS.md has examples.
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, WrongArguments


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--ckpt", type="path", required=True, help="a checkpoint of a run, or a released file")
    parser.add_config_file(needed=False)
    parser.add_argument("--out", type="path", metavar="PLACE", help="the folder to write, or FILE.safetensors")
    parser.add_argument("--push", metavar="USER/MODEL", help="also, or only, upload it to the Hugging Face hub")
    parser.add_argument(
        "--index", type="path", metavar="PLACE", help="take the calibration of this index of the model along"
    )
    parser.add_argument("--onnx", action="store_true", help="also both encoders as ONNX files, checked against PyTorch")
    card = parser.add_argument_group("what the card shows")
    card.add_argument("--metrics", type="path", metavar="FILE", help="as `mmn test --metrics-out` writes it")
    card.add_argument("--predictions", type="path", metavar="FILE", help="as `mmn test --dump` writes it: five queries")
    card.add_argument("--maps", type="path", metavar="FILE", help="as `mmn test --dump-maps` writes it beside them")
    card.add_argument("--truth", type="path", metavar="FILE", help="their true moments, where they have none")
    card.add_argument("--licence", default="", metavar="NAME", help="of the weights, as the hub names it, e.g. mit")
    parser.add_mixed_options()


def run(args: Namespace) -> None:
    if not args.out and not args.push:
        raise WrongArguments("--out PLACE or --push USER/MODEL is needed: where the model goes")

    from mmn.apps.publish.save import Evidence
    from mmn.apps.search.export_model import export_model

    evidence = Evidence(args.metrics, args.predictions, args.maps, args.truth, args.licence)
    export_model(args.ckpt, args.out, args.config_file, args.options, evidence, args.index, args.push, args.onnx)
