"""Extract feature rows of video files, in the HDF5 layout that training reads.

mmn extract --videos DIR|FILE ... --backbone clip --out features.hdf5
torchrun --nproc_per_node 4 -m mmn extract ...      # several processes, each its share; also on several nodes

The same command goes on where an earlier one stopped, or adds new videos. docs/FEATURES.md says which backbone and
sampling come nearest to the features of the released datasets.
"""

from argparse import Namespace

from mmn.apps.extraction.usual_sampling import USUAL
from mmn.commands.frame import CommandParser


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--videos", type="path", nargs="+", required=True, metavar="DIR|FILE", help="files, and folders of them"
    )
    parser.add_argument("--backbone", required=True, choices=sorted(USUAL))
    parser.add_argument(
        "--out", type="path", required=True, metavar="FILE.hdf5", help="the feature file to write, or to add to"
    )
    parser.add_argument(
        "--weights",
        type="path",
        help="a file or folder, a name, or random:SEED; by default the usual ones (c3d has none)",
    )
    parser.add_argument("--layer", help="whose output the rows are: " + _choices("layers"))
    parser.add_argument("--fps", type=float, help="frames per second to sample, 0 for every frame: " + _choices("fps"))
    parser.add_argument("--clip-length", type=int, help="frames that a row is made of: " + _choices("clip_length"))
    parser.add_argument("--stride", type=int, help="frames from one row to the next: " + _choices("stride"))
    parser.add_argument("--batch-size", type=int, help="frames or clips at once: " + _choices("batch_size"))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--keep-extension", action="store_true", help="call a video s1.avi in the file, not s1")
    parser.add_argument("--allow-truncated", action="store_true", help="use what there is of a file that was cut off")


def run(args: Namespace) -> None:
    from mmn.apps.extraction.extract_files import extract_videos, start_extraction
    from mmn.apps.extraction.extractor import FeatureExtractor
    from mmn.apps.extraction.video_files import list_videos

    device = start_extraction(args.device)
    videos = list_videos(args.videos, args.keep_extension)
    extractor = FeatureExtractor(
        args.backbone,
        args.weights,
        args.fps,
        args.clip_length,
        args.stride,
        args.layer,
        device,
        args.batch_size,
        args.allow_truncated,
    )
    extract_videos(extractor, videos, args.out)


def _choices(attribute: str) -> str:
    """The backbones' own values, for the help; of several the first is the default."""
    values = {name: getattr(usual, attribute) for name, usual in sorted(USUAL.items())}
    return ", ".join(
        f"{name} {'|'.join(value) if isinstance(value, tuple) else f'{value:g}'}" for name, value in values.items()
    )
