"""Search the videos of an index for the moments that sentences describe.

mmn search --index PLACE "a person opens a door" ["sentence" ...] [--top-k 10] [--threshold 0.5] [--json FILE]
mmn search --index PLACE --paraphrases "a person opens a door" "the door is opened"
mmn search --index PLACE --like VIDEO START END

docs/SEARCH.md has examples.
"""

from argparse import Namespace

from mmn.apps.search.ranking_rules import DEFAULT_PER_VIDEO, DEFAULT_RULE, EXAMPLE_RULE, RULES
from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.takes_flags_anywhere = True
    parser.add_argument(
        "--index", type="path", required=True, metavar="PLACE", help="a folder, or the address of a server"
    )
    parser.add_argument(
        "words", nargs="*", metavar="sentence", help="what is looked for; then KEY VALUE pairs over the config"
    )
    parser.add_argument("--ckpt", type="path", metavar="W", help="the model that built the index, where it has moved")
    parser.add_config_file(needed=False)
    parser.add_argument("--json", type="path", metavar="FILE", help="write the moments, as a prediction file")
    what = parser.add_argument_group("other queries")
    what.add_argument("--paraphrases", action="store_true", help="the sentences are wordings of one query")
    what.add_argument(
        "--like", nargs=3, metavar=("VIDEO", "START", "END"), help="moments like this one, START and END in seconds"
    )
    which = parser.add_argument_group("which moments")
    which.add_argument("--top-k", type=int, default=10, help="moments per query (default %(default)s)")
    which.add_argument(
        "--per-video", type=int, default=DEFAULT_PER_VIDEO, help="of one video at most (default %(default)s)"
    )
    which.add_argument("--videos", nargs="+", metavar="ID", help="search these only")
    which.add_argument("--min-length", type=float, default=0.0, metavar="SECONDS", help="of a moment")
    which.add_argument("--max-length", type=float, metavar="SECONDS", help="of a moment")
    which.add_argument(
        "--threshold", type=float, metavar="T", help="no answer to a query whose confidence is below, from 0 to 1"
    )
    ranking = parser.add_argument_group("ranking")
    ranking.add_argument("--rule", choices=list(RULES), help=f"default {DEFAULT_RULE}, and {EXAMPLE_RULE} for --like")
    ranking.add_argument("--nms", type=float, metavar="IOU", help="above it, of two moments one is dropped")
    ranking.add_argument("--exact", action="store_true", help="compare with every moment, whatever the engine")


def run(args: Namespace) -> None:
    from mmn.apps.localize.localize_command import split_queries
    from mmn.apps.search.search_command import check_words, open_index, search_index

    sentences, options = split_queries(args.words)
    videos, more_options = split_queries(args.videos or [])  # ids take all words up to the next flag
    check_words(sentences, args.like, args.paraphrases, args.threshold)  # before the model is loaded
    index = open_index(args.index, args.ckpt, args.config_file, [*options, *more_options])
    wanted = {
        "top_k": args.top_k,
        "per_video": args.per_video,
        "videos": videos or None,
        "min_length": args.min_length,
        "max_length": args.max_length,
        "rule": args.rule or (EXAMPLE_RULE if args.like else DEFAULT_RULE),
        "nms_threshold": args.nms,
        "exact": args.exact,
    }
    with index:
        search_index(index, sentences, args.like, args.paraphrases, args.threshold, wanted, args.json)
