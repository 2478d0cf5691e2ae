"""A small made-up dataset of the form of HC-STVG: people as moving boxes, and one sentence about one of them.

Everybody in a video wears something and does one thing after another. The sentence names what one person is, wears and
does; the others share some of that on purpose, so that both the person and the time are found only by the sentence as a
whole. Appearance and motion are two feature tracks: each concept has a fixed random unit vector, and a row carries the sum
of those that can be seen in its frame, under noise. Candidate tubes are the people's boxes, shaken, and some of nobody.

`write_synthetic_stvg` writes, in one folder, the files of docs/STVG.md for train, val and test, and text_encoder/.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmn.apps.synthetic.options import SyntheticStvgOptions
from mmn.apps.synthetic.synthetic_moments import ENCODER, SPLITS
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.data.tube_annotations import TubeAnnotation, annotation_entry, tube_table, write_entries, write_tables
from mmn.structures.tubes import Tubes, concatenate

# Concept -> how it is said; an action is (third person, gerund).
KINDS = {
    "man": ("man", "guy"),
    "woman": ("woman", "lady"),
    "boy": ("boy",),
    "girl": ("girl",),
}
CLOTHES = {
    "red": ("in red", "in the red shirt", "wearing a red jacket"),
    "blue": ("in blue", "in the blue shirt", "wearing a blue coat"),
    "green": ("in green", "in the green sweater"),
    "black": ("in black", "in the black suit", "dressed in black"),
    "white": ("in white", "in the white coat", "dressed in white"),
    "yellow": ("in yellow", "with the yellow scarf"),
}
ACTIONS = {
    "sit": (("sits down", "sitting down"), ("takes a seat", "taking a seat")),
    "rise": (("stands up", "standing up"), ("gets up", "getting up")),
    "turn": (("turns around", "turning around"), ("looks back", "looking back")),
    "wave": (("waves a hand", "waving a hand"), ("greets somebody", "greeting somebody")),
    "drink": (("drinks from a cup", "drinking from a cup"), ("takes a sip", "taking a sip")),
    "point": (("points ahead", "pointing ahead"), ("raises a finger", "raising a finger")),
    "bend": (("bends down", "bending down"), ("picks something up", "picking something up")),
    "run": (("runs away", "running away"), ("hurries off", "hurrying off")),
}
TEMPLATES = (
    "the {who} {verb}",
    "the {who} is {doing}",
    "we see the {who} {doing}",
    "in the scene the {who} {verb}",
)

WIDTH, HEIGHT = 320, 240  # pixels of a frame
MIN_FRAMES, MAX_FRAMES = 80, 160
JITTER = 1.5  # pixels by which a detector misses, standard deviation
SHARING = 0.6  # how often somebody shares the kind, the clothes or an action with the person of the sentence
NOBODY = 0.5  # how many videos have a candidate tube with nobody in it
TRACKS = ("appearance", "motion")


@dataclass(frozen=True)
class Person:
    """Somebody who is seen from a frame on.

    Attributes:
        kind, clothes: concepts.
        tube: their boxes (n = 1).
        actions: (concept, start, stop), what they do in rows start .. stop - 1 of the tube; in time order, no overlap.
    """

    kind: str
    clothes: str
    tube: Tubes
    actions: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Scene:
    """One video. The sentence is about action number `action` of the first of the people.

    Attributes:
        num_frames: length of the video.
        people: two or more.
        false_tube: a candidate tube with nobody in it (n = 1), or None.
    """

    num_frames: int
    sentence: str
    people: tuple[Person, ...]
    action: int
    false_tube: Tubes | None

    def truth(self) -> Tubes:
        """The tube that the sentence describes."""
        _, start, stop = self.people[0].actions[self.action]
        return self.people[0].tube.piece(0, start, stop)


def write_synthetic_stvg(
    folder: str | os.PathLike, options: SyntheticStvgOptions | None = None, log: Callable[[str], None] = print
) -> Path:
    """Write the whole dataset into `folder` and return the folder; the annotation files come last."""
    options, folder = options or SyntheticStvgOptions(), Path(folder)
    counts = dict(zip(SPLITS, (options.num_train, options.num_val, options.num_test), strict=True))
    scenes = {
        split: {f"{split}_{index:04d}.mp4": make_scene(split, index, options.seed) for index in range(count)}
        for split, count in counts.items()
    }
    write_tiny_encoder(folder / ENCODER, [scene.sentence for scene in scenes["train"].values()], seed=options.seed)
    for split in SPLITS:
        write_split(folder, split, scenes[split], options)
        log(f"{split}: {counts[split]} videos")
    return folder


def write_split(folder: Path, split: str, scenes: Mapping[str, Scene], options: SyntheticStvgOptions) -> None:
    """The tube, feature and annotation files of one split."""
    candidates = {
        video: make_candidates(scene, video_generator(options.seed, split, number, 1))
        for number, (video, scene) in enumerate(scenes.items())
    }
    write_tables(
        f"{folder}/{split}_tubes.hdf5", ((video, tube_table(tubes)) for video, (tubes, _) in candidates.items())
    )
    for number, track in enumerate(TRACKS):
        write_tables(f"{folder}/{split}_{track}.hdf5", track_rows(split, number, scenes, candidates, options))
    entries = {
        video: annotation_entry(TubeAnnotation(video, scene.sentence, scene.truth())) for video, scene in scenes.items()
    }
    write_entries(f"{folder}/{split}.json", entries)


def video_generator(seed: int, split: str, index: int, purpose: int) -> np.random.Generator:
    """Random numbers of one video for one purpose: 0 the scene, 1 the candidate tubes, 2 and on the feature tracks."""
    return np.random.default_rng([seed, SPLITS.index(split), index, purpose])


# ---- Scenes ----------------------------------------------------------------------------------------------------------


def make_scene(split: str, index: int, seed: int) -> Scene:
    """The people, what they do, and the sentence of one video."""
    rng = video_generator(seed, split, index, 0)
    num_frames = int(rng.integers(MIN_FRAMES, MAX_FRAMES + 1))
    first = make_person(num_frames, None, rng)
    action = int(rng.integers(len(first.actions)))
    concept = first.actions[action][0]
    people = [first]
    num_people = int(rng.integers(3, 6))
    while len(people) < num_people:
        other = make_person(num_frames, first, rng)
        is_like = (other.kind, other.clothes) == (first.kind, first.clothes)
        if not (is_like and concept in [name for name, *_ in other.actions]):
            people.append(other)
    false_tube = make_path(num_frames, rng) if rng.random() < NOBODY else None
    return Scene(num_frames, make_sentence(first, concept, rng), tuple(people), action, false_tube)


def make_person(num_frames: int, like: Person | None, rng: np.random.Generator) -> Person:
    """Somebody new; with `like`, somebody who is likely to share something with that person."""

    def choose(names: Mapping[str, object], shared: str | None) -> str:
        return shared if shared and rng.random() < SHARING else str(rng.choice(list(names)))

    kind = choose(KINDS, like and like.kind)
    clothes = choose(CLOTHES, like and like.clothes)
    tube = make_path(num_frames, rng)
    count = int(rng.integers(2, 4))
    actions = [str(name) for name in rng.choice(list(ACTIONS), count, replace=False)]
    if like is not None and rng.random() < SHARING:
        shared = like.actions[rng.integers(len(like.actions))][0]
        if shared not in actions:
            actions[rng.integers(count)] = shared
    return Person(kind, clothes, tube, plan_actions(actions, int(tube.lengths), rng))


def make_path(num_frames: int, rng: np.random.Generator) -> Tubes:
    """A box of changing size on a smooth way through the picture, for most of the video."""
    first = int(rng.integers(0, num_frames // 5))
    length = int(rng.integers(int(0.7 * (num_frames - first)), num_frames - first + 1))
    time = np.linspace(0, 1, length)
    width = rng.uniform(25, 60) * (1 + 0.3 * rng.uniform(-1, 1) * time)
    height = rng.uniform(1.8, 2.4) * width
    start, end = rng.uniform(0, 1, (2, 2))
    sway = 0.1 * np.sin(2 * np.pi * (rng.uniform(0, 1, 2) + time[:, None] * rng.uniform(0.5, 1.5, 2)))
    place = np.clip(start + (end - start) * time[:, None] + sway, 0, 1)
    x1, y1 = place[:, 0] * (WIDTH - 1 - width), place[:, 1] * np.maximum(HEIGHT - 1 - height, 0)
    boxes = np.stack([x1, y1, x1 + width, np.minimum(y1 + height, HEIGHT - 1)], axis=1)
    return _one_tube(first, boxes)


def plan_actions(names: Sequence[str], length: int, rng: np.random.Generator) -> tuple[tuple[str, int, int], ...]:
    """The times of actions: pieces of 15 to 40 % of the tube, in random gaps."""
    lengths = rng.uniform(0.15, min(0.4, 0.85 / len(names)), len(names))
    gaps = rng.dirichlet(np.ones(len(names) + 1)) * (1 - lengths.sum())
    starts = np.cumsum(gaps[:-1]) + np.cumsum(lengths) - lengths
    bounds = np.stack([starts, starts + lengths], axis=1)
    rows = np.rint(bounds * length).astype(int)
    return tuple((name, int(start), int(stop)) for name, (start, stop) in zip(names, rows, strict=True))


def make_sentence(person: Person, action: str, rng: np.random.Generator) -> str:
    """One of the ways to say who the person is and what they do."""
    verb, doing = ACTIONS[action][rng.integers(len(ACTIONS[action]))]
    who = f"{rng.choice(KINDS[person.kind])} {rng.choice(CLOTHES[person.clothes])}"
    sentence = str(rng.choice(TEMPLATES)).format(who=who, verb=verb, doing=doing)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _one_tube(first_frame: int, boxes: np.ndarray) -> Tubes:
    return Tubes(torch.tensor([first_frame]), torch.tensor([len(boxes)]), torch.from_numpy(boxes.astype(np.float32)))


# ---- What a detector and two feature extractors would make of them -----------------------------------------------------


def make_candidates(scene: Scene, rng: np.random.Generator) -> tuple[Tubes, list[Person | None]]:
    """The candidate tubes in random order, and who is in each."""
    inside: list[Person | None] = [*scene.people]
    tubes = [person.tube for person in scene.people]
    if scene.false_tube is not None:
        inside.append(None)
        tubes.append(scene.false_tube)
    order = rng.permutation(len(tubes))
    return concatenate([_shaken(tubes[number], rng) for number in order]), [inside[number] for number in order]


def _shaken(tube: Tubes, rng: np.random.Generator) -> Tubes:
    boxes = tube.boxes.numpy() + JITTER * rng.standard_normal(tube.boxes.shape)
    boxes = boxes.astype(np.float32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    return Tubes(tube.first_frames, tube.lengths, torch.from_numpy(boxes))


def track_rows(
    split: str,
    track: int,
    scenes: Mapping[str, Scene],
    candidates: Mapping[str, tuple[Tubes, list[Person | None]]],
    options: SyntheticStvgOptions,
) -> Iterator[tuple[str, np.ndarray]]:
    """(video, rows [R, dim] float32 of all its candidate tubes) of one feature track."""
    vectors = concept_vectors(options.dim, options.seed)
    for number, video in enumerate(scenes):
        rng = video_generator(options.seed, split, number, 2 + track)
        tubes, inside = candidates[video]
        rows = rng.standard_normal((len(tubes.boxes), options.dim)) * (options.noise / np.sqrt(options.dim))
        for person, first, length in zip(inside, tubes.first_rows.tolist(), tubes.lengths.tolist(), strict=True):
            if person is not None:
                add_signal(rows[first : first + length], person, TRACKS[track], vectors)
        yield video, rows.astype(np.float32)


def add_signal(rows: np.ndarray, person: Person, track: str, vectors: Mapping[str, np.ndarray]) -> None:
    """Add to a person's rows [L, dim] what the track sees of them."""
    if track == "appearance":
        rows += vectors[person.kind] + vectors[person.clothes]
        return
    for action, start, stop in person.actions:
        rows[start:stop] += vectors[action]


def concept_vectors(dim: int, seed: int) -> dict[str, np.ndarray]:
    """Concept -> unit vector [dim], for all kinds, clothes and actions."""
    names = [*KINDS, *CLOTHES, *ACTIONS]
    vectors = np.random.default_rng(seed).standard_normal((len(names), dim))
    return dict(zip(names, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strict=True))


# ---- Videos to look at -------------------------------------------------------------------------------------------------

FRAME_RATE = 10.0
COLOURS = {
    "red": (200, 40, 40),
    "blue": (40, 70, 200),
    "green": (40, 150, 60),
    "black": (30, 30, 30),
    "white": (245, 245, 245),
    "yellow": (230, 200, 40),
}
SKIN, BACKGROUND = (225, 180, 150), (150, 160, 165)
HEAD = 0.22  # of a person's height


def write_videos(folder: str | os.PathLike, split: str, count: int, seed: int) -> None:
    """Write the first `count` videos of a split as mp4 files into `folder`. Needs `pip install .[video]`."""
    from mmn.apps.video.encode import write_video

    for index in range(count):
        scene = make_scene(split, index, seed)
        write_video(Path(folder, f"{split}_{index:04d}.mp4"), render_frames(scene), FRAME_RATE)


def render_frames(scene: Scene) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 [HEIGHT, WIDTH, 3]: each person is a box in the colour of their clothes, with a head."""
    for frame in range(scene.num_frames):
        image = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
        for person in reversed(scene.people):  # the person of the sentence is in front
            row = frame - int(person.tube.first_frames)
            if 0 <= row < int(person.tube.lengths):
                x1, y1, x2, y2 = person.tube.boxes[row].round().int().tolist()
                neck = y1 + round(HEAD * (y2 - y1))
                image[neck : y2 + 1, x1 : x2 + 1] = COLOURS[person.clothes]
                middle, half = (x1 + x2) // 2, max(1, (x2 - x1) // 4)
                image[y1:neck, middle - half : middle + half] = SKIN
        yield image
