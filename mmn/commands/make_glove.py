"""Make a small file of random word vectors in GloVe's form, for 2D-TAN.

mmn make-glove --annotations dataset/synthetic/*.json --out dataset/synthetic/glove.txt --size 64
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser, HelpWithDefaults, WrongArguments


def add_arguments(parser: CommandParser) -> None:
    parser.formatter_class = HelpWithDefaults
    parser.add_argument(
        "--annotations", nargs="+", type="path", required=True, metavar="FILE", help="files whose words get a vector"
    )
    parser.add_argument(
        "--out", type="path", required=True, metavar="FILE", help="the file to write, for MODEL.TAN2D.TEXT.GLOVE"
    )
    parser.add_argument("--size", type=int, default=300, help="numbers of a word, MODEL.TAN2D.TEXT.EMBEDDING_SIZE")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives a word the same vector")


def run(args: Namespace) -> None:
    if args.size < 1:
        raise WrongArguments(f"--size is {args.size}: it must be at least 1")

    from mmn.apps.synthetic.seeded_glove import write_glove

    print(f"{write_glove(args.out, args.annotations, args.size, args.seed)} words in {args.out}")
