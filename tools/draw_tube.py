"""Draw a predicted tube of HC-STVG on frames of its video, beside the truth where it is known:

python tools/draw_tube.py --predictions predictions.json --annotations dataset/HC_STVG/val.json \\
    --video-id 10_abc.mp4 --video videos/10_abc.mp4 --out tube.png
"""

import argparse

import _path  # noqa: F401

from mmn.apps.visual.tube_picture import draw_tube_file
from mmn.utils.cli import run_tool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", required=True, metavar="FILE", help="as test_net.py --dump writes it")
    parser.add_argument("--annotations", required=True, metavar="FILE", help="json file with the sentences")
    parser.add_argument("--video-id", required=True, metavar="NAME", help="the video's name in both")
    parser.add_argument("--video", metavar="FILE", help="the video itself; without it boxes are drawn on white")
    parser.add_argument(
        "--panels", type=int, default=16, metavar="N", help="frames shown (default %(default)s, as many as clips)"
    )
    parser.add_argument("--out", required=True, metavar="PNG", help="picture to write")
    args = parser.parse_args()
    draw_tube_file(args.out, args.predictions, args.video_id, args.annotations, args.video, args.panels)


if __name__ == "__main__":
    run_tool(main)
