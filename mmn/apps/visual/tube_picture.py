"""The picture of a predicted tube: frames of the video in time order, each with the boxes of its moment."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.style import PREDICTION, TRUTH, plain_text, save_png, styled_figure
from mmn.data.tube_annotations import TubeAnnotation, read_tube_annotations
from mmn.evaluation.tube_metrics import read_tube_predictions, tube_ious
from mmn.structures.tubes import Tubes
from mmn.utils.errors import ConfigError, DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_COLUMNS = 4
PANEL = (3.0, 2.3)  # inches
MARGIN = 0.15  # of the frames shown lie before the tubes, and as many behind


def draw_tube_file(
    out: str,
    predictions: str,
    video_id: str,
    annotations: str,
    video: str | None = None,
    num_panels: int = 16,
) -> None:
    """Write the picture of one video of a prediction file.

    Args:
        out: png file to write.
        predictions, annotations: json files (docs/STVG.md); the annotations give the sentence, and the truth if known.
        video: the video file; without it the boxes are drawn on white.
        num_panels: frames shown, at least 2; by default as many as the released map has clips.
    """
    if num_panels < 2:
        raise ConfigError(f"a picture of {num_panels} frames shows no tube: take at least 2")
    tubes = read_tube_predictions(predictions)
    entries = {entry.video_id: entry for entry in read_tube_annotations(annotations)}
    for path, known in ((predictions, tubes), (annotations, entries)):
        if video_id not in known:
            raise DataError(f"{path} has no video {video_id}: check --video-id")
    predicted, annotation = tubes[video_id], entries[video_id]
    numbers = frames_to_show(predicted, annotation.truth, num_panels)
    images = None
    if video is not None:
        images = read_frames(video, numbers)
        numbers = sorted(images)
    num_rows = -(-len(numbers) // NUM_COLUMNS)
    with styled_figure(NUM_COLUMNS * PANEL[0], num_rows * PANEL[1] + 0.6) as figure:
        draw_tube(figure, annotation, predicted, numbers, images)
        save_png(figure, out)


def frames_to_show(predicted: Tubes, truth: Tubes | None, count: int) -> list[int]:
    """At most `count` different frame numbers, evenly from a little before the tubes to a little behind them."""
    spans = [_span(tube) for tube in (predicted, truth) if tube is not None]
    first, last = min(start for start, _ in spans), max(stop for _, stop in spans)
    margin = max(1, round(MARGIN * (last - first + 1)))
    return sorted(set(np.linspace(max(0, first - margin), last + margin, count).round().astype(int).tolist()))


def _span(tube: Tubes) -> tuple[int, int]:
    """First and last frame of a tube (n = 1)."""
    first = int(tube.first_frames)
    return first, first + int(tube.lengths) - 1


def read_frames(path: str, numbers: Sequence[int]) -> dict[int, np.ndarray]:
    """Frame number, counted from 0 -> image [H, W, 3] uint8; numbers beyond the end of the video are left out.

    Raises DataError where the file is no video or ends before all of them, UserError where PyAV is not installed.
    """
    from mmn.apps.video.decode import iter_frames

    wanted, images = set(numbers), {}
    for number, frame in enumerate(iter_frames(path)):
        if number in wanted:
            images[number] = frame.image
        if number == max(wanted):
            break
    if not images:
        raise DataError(
            f"{path} ends before frame {min(wanted)}, the first to be shown: it is another video, so check --video"
        )
    return images


def draw_tube(
    figure: "Figure",
    annotation: TubeAnnotation,
    predicted: Tubes,
    numbers: Sequence[int],
    images: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Draw frames with the predicted box, and the true one where it is known, in a grid of NUM_COLUMNS.

    Args:
        annotation: the video's, whose sentence and IoU stand above.
        numbers: the frames to show.
        images: pictures of the frames, [H, W, 3] uint8; None draws on white.
    """
    truth = annotation.truth
    size = _picture_size(predicted, truth, images)
    num_rows = -(-len(numbers) // NUM_COLUMNS)
    grid = figure.subplots(num_rows, NUM_COLUMNS, squeeze=False).flatten()
    for axes, number in zip(grid, numbers, strict=False):
        _draw_frame(axes, number, None if images is None else images[number], size)
        _draw_box(axes, truth, number, TRUTH, "--")
        _draw_box(axes, predicted, number, PREDICTION, "-")
    for axes in grid[len(numbers) :]:
        axes.set_axis_off()
    figure.suptitle(_title(annotation, predicted), x=0.01, ha="left", fontsize=12, parse_math=False)


def _title(annotation: TubeAnnotation, predicted: Tubes) -> str:
    sentence = textwrap.fill(f"“{plain_text(annotation.sentence)}”", width=100)
    line = "{}: predicted (solid) frames {} – {}".format(plain_text(annotation.video_id, 60), *_span(predicted))
    if annotation.truth is not None:
        spatial, temporal = tube_ious([predicted], [annotation.truth])
        line += ", true (dashed) {} – {}".format(*_span(annotation.truth))
        line += f"; vIoU {spatial.item():.2f}, tIoU {temporal.item():.2f}"
    return f"{sentence}\n{line}"


def _picture_size(
    predicted: Tubes, truth: Tubes | None, images: Mapping[int, np.ndarray] | None
) -> tuple[float, float]:
    """(width, height) in pixels, of the video or else of what the boxes span."""
    if images is not None:
        height, width = next(iter(images.values())).shape[:2]
        return width, height
    corners = np.concatenate([tube.boxes[:, 2:].numpy() for tube in (predicted, truth) if tube is not None])
    return tuple(float(value) + 10 for value in corners.max(axis=0))


def _draw_frame(axes: "Axes", number: int, image: np.ndarray | None, size: tuple[float, float]) -> None:
    width, height = size
    if image is not None:
        axes.imshow(image)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_title(f"frame {number}", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _draw_box(axes: "Axes", tube: Tubes | None, number: int, color: str, line: str) -> None:
    """The box of a tube (n = 1) in a frame, where it has one there."""
    from matplotlib.patches import Rectangle

    row = None if tube is None else number - int(tube.first_frames)
    if row is None or not 0 <= row < int(tube.lengths):
        return
    x1, y1, x2, y2 = tube.boxes[row].tolist()
    # Both corners are part of the box.
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1 + 1, y2 - y1 + 1, fill=False, edgecolor=color, linewidth=2, linestyle=line)
    )
