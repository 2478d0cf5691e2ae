"""Draw a predicted tube of HC-STVG on frames of its video, beside the truth where it is known.

mmn draw-tube --predictions predictions.json --annotations dataset/HC_STVG/val.json \\
    --video-id 10_abc.mp4 --video videos/10_abc.mp4 --out tube.png
"""

from argparse import Namespace

from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--predictions", type="path", required=True, metavar="FILE", help="as `mmn test --dump` writes it"
    )
    parser.add_argument(
        "--annotations", type="path", required=True, metavar="FILE", help="json file with the sentences"
    )
    parser.add_argument("--video-id", required=True, metavar="NAME", help="the video's name in both")
    parser.add_argument(
        "--video", type="path", metavar="FILE", help="the video itself; without it boxes are drawn on white"
    )
    parser.add_argument(
        "--panels", type=int, default=16, metavar="N", help="frames shown (default %(default)s, as many as clips)"
    )
    parser.add_argument("--out", type="path", required=True, metavar="PNG", help="picture to write")


def run(args: Namespace) -> None:
    from mmn.apps.visual.tube_picture import draw_tube_file

    draw_tube_file(args.out, args.predictions, args.video_id, args.annotations, args.video, args.panels)
