"""The content of the small rendered videos: timelines of coloured shapes that move, appear, change, and the sentences.

Every video is a timeline of actions. In an action one shape is on the scene, from the action's start to its end: it
moves from one side to the other, appears somewhere, turns into another colour, grows or shrinks. Actions of a video
share colours, shapes and ways to act on purpose, so that a sentence has to be understood as a whole to find its moment;
some actions have no sentence, and some shapes just stand there all the time. `shape_rendering.py` draws the frames.
"""

from dataclasses import dataclass

import numpy as np

from mmn.apps.synthetic.synthetic_moments import SPLITS, choose_bounds

# Concept -> surface forms.
COLOURS = {
    "red": ("red", "scarlet"),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow", "golden"),
    "purple": ("purple", "violet"),
    "white": ("white",),
}
SHAPES = {
    "circle": ("circle", "disc", "ball"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "cross": ("cross", "plus sign"),
}
# Concept -> (verbs, where to); a verb is (third person, gerund). {colour} is what the shape turns into.
_MOVE = (("moves", "moving"), ("slides", "sliding"), ("travels", "travelling"), ("glides", "gliding"))
ACTIONS = {
    "move right": (_MOVE, ("from left to right", "to the right", "from the left side to the right side", "rightwards")),
    "move left": (_MOVE, ("from right to left", "to the left", "from the right side to the left side", "leftwards")),
    "move up": ((*_MOVE, ("rises", "rising")), ("from bottom to top", "to the top", "upwards")),
    "move down": ((*_MOVE, ("sinks", "sinking")), ("from top to bottom", "to the bottom", "downwards")),
    "appear": ((("appears", "appearing"), ("shows up", "showing up"), ("pops up", "popping up")), ("{place}",)),
    "turn": ((("turns", "turning"), ("changes to", "changing to"), ("becomes", "becoming")), ("{colour}",)),
    "grow": ((("grows", "growing"), ("gets bigger", "getting bigger"), ("expands", "expanding")), ("",)),
    "shrink": ((("shrinks", "shrinking"), ("gets smaller", "getting smaller")), ("",)),
}
PLACES = {
    (0.25, 0.5): ("on the left", "at the left side"),
    (0.75, 0.5): ("on the right", "at the right side"),
    (0.5, 0.25): ("at the top", "in the upper part"),
    (0.5, 0.75): ("at the bottom", "in the lower part"),
    (0.5, 0.5): ("in the middle", "in the centre"),
}
# {verb}: third person, {doing}: gerund.
TEMPLATES = (
    "{subject} {verb} {rest}",
    "{subject} is {doing} {rest}",
    "we see {subject} {doing} {rest}",
    "there is {subject} that {verb} {rest}",
    "{subject} can be seen {doing} {rest}",
)
SAY_PLACE = 0.5  # how often a sentence about a shape that appears says where
SHARING = 0.7  # how many of a video's actions differ from an earlier one in one of colour, shape and action alone
STANDING = 0.5  # how many videos have a shape that stands there all the time


@dataclass(frozen=True)
class Segment:
    """One shape in action while frames `first` to `last` - 1 are shown.

    Attributes:
        first, last: frame numbers.
        colour, shape, action: keys of COLOURS, SHAPES and ACTIONS.
        to_colour: the colour that it turns into, else its own.
        place: (x, y) of its centre halfway, as shares of the picture's width and height, from the upper left.
        sentence: None where it is a distractor.
    """

    first: int
    last: int
    colour: str
    shape: str
    action: str
    to_colour: str
    place: tuple[float, float]
    sentence: str | None


@dataclass(frozen=True)
class Standing:
    """A shape that is on the scene in every frame; a sentence never tells of it."""

    colour: str
    shape: str
    place: tuple[float, float]


@dataclass(frozen=True)
class ShapeVideo:
    """One timeline. `segments` are in time order and do not overlap.

    Attributes:
        num_frames, fps: their quotient is the duration in seconds.
        seed: random seed of the background.
    """

    num_frames: int
    fps: float
    segments: tuple[Segment, ...]
    standing: tuple[Standing, ...]
    seed: tuple[int, ...]

    def annotation(self) -> dict:
        """The video's entry in the annotation file; times in seconds, exact to the frame."""
        told = [segment for segment in self.segments if segment.sentence is not None]
        return {
            "duration": self.num_frames / self.fps,
            "timestamps": [[segment.first / self.fps, segment.last / self.fps] for segment in told],
            "sentences": [segment.sentence for segment in told],
        }


def make_shape_video(
    split: str, index: int, seed: int, fps: float, seconds: tuple[float, float] = (12.0, 24.0)
) -> ShapeVideo:
    """The timeline and the sentences of one video, which depend on these arguments alone.

    Args:
        seconds: the shortest and the longest duration, of `MIN_FRAMES` of options.py at least.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    num_frames = round(float(rng.uniform(*seconds)) * fps)
    num_told = int(rng.choice([3, 4, 5], p=[0.4, 0.4, 0.2]))
    kinds = choose_kinds(num_told + 1, rng)
    told = rng.permutation(np.arange(len(kinds)) < num_told)
    segments = []
    for kind, is_told, bounds in zip(kinds, told, choose_bounds(told, rng), strict=True):
        first, last = (round(bound * num_frames) for bound in bounds)
        segments.append(make_segment(first, last, kind, bool(is_told), rng))
    standing = [make_standing(rng)] if rng.random() < STANDING else []
    return ShapeVideo(num_frames, fps, tuple(segments), tuple(standing), (seed, SPLITS.index(split), index, 1))


def choose_kinds(count: int, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """`count` different (colour, shape, action), many of which differ from an earlier one in one of the three alone."""
    kinds = []
    while len(kinds) < count:
        kind = [str(rng.choice(list(names))) for names in (COLOURS, SHAPES, ACTIONS)]
        if kinds and rng.random() < SHARING:
            changed = rng.integers(3)
            kind = [kind[changed] if part == changed else kinds[-1][part] for part in range(3)]
        if tuple(kind) not in kinds:
            kinds.append(tuple(kind))
    return [kinds[position] for position in rng.permutation(count)]


def make_segment(first: int, last: int, kind: tuple[str, str, str], is_told: bool, rng: np.random.Generator) -> Segment:
    """An action of this kind, the rest of it at random."""
    colour, shape, action = kind
    to_colour = str(rng.choice([name for name in COLOURS if name != colour])) if action == "turn" else colour
    place = tuple(float(value) for value in rng.uniform(0.35, 0.65, 2))
    place_words = ""
    if action == "appear":
        place = list(PLACES)[rng.integers(len(PLACES))]
        place_words = str(rng.choice(PLACES[place])) if rng.random() < SAY_PLACE else ""
    sentence = make_sentence(colour, shape, action, to_colour, place_words, rng)
    return Segment(first, last, colour, shape, action, to_colour, place, sentence if is_told else None)


def make_standing(rng: np.random.Generator) -> Standing:
    """A shape near one of the corners, out of the way of most actions."""
    place = tuple(float(value) for value in rng.choice([0.1, 0.9], 2))
    return Standing(str(rng.choice(list(COLOURS))), str(rng.choice(list(SHAPES))), place)


def make_sentence(
    colour: str, shape: str, action: str, to_colour: str, place_words: str, rng: np.random.Generator
) -> str:
    """An English sentence that says colour, shape and action, in random words and word order."""
    verbs, paths = ACTIONS[action]
    verb, doing = verbs[rng.integers(len(verbs))]
    path = "" if verb in ("rises", "sinks") else str(rng.choice(paths))
    rest = path.format(place=place_words, colour=rng.choice(COLOURS[to_colour]))
    subject = f"{rng.choice(['a', 'the'])} {rng.choice(COLOURS[colour])} {rng.choice(SHAPES[shape])}"
    sentence = str(rng.choice(TEMPLATES)).format(subject=subject, verb=verb, doing=doing, rest=rest).strip()
    return f"{sentence[0].upper()}{sentence[1:]}."
