"""Frames of the small videos of `shape_videos.py`, drawn with smooth edges."""

from collections.abc import Iterator

import numpy as np

from mmn.apps.synthetic.shape_videos import Segment, ShapeVideo

RGB = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 240),
    "yellow": (245, 215, 40),
    "purple": (170, 60, 200),
    "white": (245, 245, 245),
}
# As shares of the picture's height or width.
RADIUS = 0.17  # of the circle around a shape, nearly
SMALL_RADIUS, LARGE_RADIUS = 0.07, 0.26  # where it grows or shrinks
STANDING_RADIUS = 0.06
NEAR_EDGE, FAR_EDGE = 0.15, 0.85  # where a shape that moves begins or ends
APPEARING = 0.2  # the share of its time in which an appearing shape comes to its full size
TURNING = (0.3, 0.7)  # the share of its time in which a shape changes its colour


def render(video: ShapeVideo, size: int) -> Iterator[np.ndarray]:
    """The frames, uint8 [size, size, 3] RGB, one by one. Where no segment is on, they are all the same."""
    scene = make_scene(video, size)
    still = to_uint8(scene)
    shown = {frame: segment for segment in video.segments for frame in range(segment.first, segment.last)}
    for frame in range(video.num_frames):
        segment = shown.get(frame)
        if segment is None:
            yield still
        else:
            progress = (frame - segment.first + 0.5) / (segment.last - segment.first)
            yield to_uint8(draw_segment(scene, segment, progress))


def make_scene(video: ShapeVideo, size: int) -> np.ndarray:
    """The background, a dark slope between two random colours, with the standing shapes: float64 [size, size, 3]."""
    rng = np.random.default_rng(video.seed)
    first, second = rng.uniform(20, 70, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = pixel_centres(size)
    slope = 0.5 + 0.7 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    scene = first + (second - first) * slope[:, :, None]
    for shape in video.standing:
        scene = draw(scene, shape.shape, RGB[shape.colour], shape.place, STANDING_RADIUS)
    return scene


def draw_segment(scene: np.ndarray, segment: Segment, progress: float) -> np.ndarray:
    """The scene with the segment's shape as it is when the share `progress` (0 to 1) of its time is over."""
    (x, y), radius, colour = segment.place, RADIUS, RGB[segment.colour]
    along = NEAR_EDGE + (FAR_EDGE - NEAR_EDGE) * progress
    match segment.action:
        case "move right":
            x = along
        case "move left":
            x = 1 - along
        case "move down":
            y = along
        case "move up":
            y = 1 - along
        case "appear":
            radius *= min(1, 0.3 + 0.7 * progress / APPEARING)
        case "grow":
            radius = SMALL_RADIUS + (LARGE_RADIUS - SMALL_RADIUS) * progress
        case "shrink":
            radius = LARGE_RADIUS + (SMALL_RADIUS - LARGE_RADIUS) * progress
        case "turn":
            begin, end = TURNING
            share = np.clip((progress - begin) / (end - begin), 0, 1)
            colour = (1 - share) * np.array(colour) + share * np.array(RGB[segment.to_colour])
    return draw(scene, segment.shape, colour, (x, y), radius)


def draw(scene: np.ndarray, shape: str, colour, place: tuple[float, float], radius: float) -> np.ndarray:
    """A copy of the scene [size, size, 3] with a shape on it; place (x, y) and radius as shares of the size."""
    size = len(scene)
    y, x = pixel_centres(size)
    distance = signed_distance(shape, (x - place[0]) / radius, (y - place[1]) / radius)
    cover = np.clip(0.5 - distance * radius * size, 0, 1)[:, :, None]  # the edge is one pixel wide
    return scene + (np.asarray(colour, float) - scene) * cover


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The distance of points from a shape of radius 1 around the origin, below 0 inside; y points down."""
    match shape:
        case "circle":
            return np.hypot(x, y) - 1
        case "square":
            return np.maximum(abs(x), abs(y)) - 0.85
        case "triangle":
            half = np.sqrt(0.75)
            return np.maximum(half * abs(x) - 0.5 * y, y) - 0.5
        case "cross":
            arm = 0.3
            upright = np.maximum(abs(x) - arm, abs(y) - 1)
            return np.minimum(upright, np.maximum(abs(y) - arm, abs(x) - 1))
    raise ValueError(f"no such shape: {shape}")


def pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(y [size, 1], x [1, size]) of the pixels, as shares of the size."""
    centres = (np.arange(size) + 0.5) / size
    return centres[:, None], centres[None, :]


def to_uint8(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
