"""A small made-up dataset for temporal grounding, in the on-disk layout of the real ones.

Every video is a timeline of actions, unlabelled distractors and plain background. An action is a verb and an object,
in some cases at a place; each of these concepts has a fixed random unit vector, and an action's feature rows carry the
sum of its concepts' vectors. The actions of a video share verbs and objects on purpose, so that a sentence has to be
understood as a whole to find its moment. The sentences say the concepts in synonyms, tenses and word orders.

`write_synthetic_dataset` writes, in one folder:
    train.json, val.json, test.json   {video id: {"duration", "timestamps", "sentences"}}, in seconds, like Charades-STA
    features.hdf5                     float32 dataset [T0, dim] per video id, like Charades-STA
    text_encoder/                     a random encoder with a tokenizer of the train sentences (`tiny_encoder.py`)
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from mmn.apps.synthetic.options import SyntheticOptions
from mmn.apps.synthetic.tiny_encoder import write_tiny_encoder
from mmn.utils.files import atomic_path

# Concept -> surface forms; a verb form is (third person, past participle, gerund).
VERBS = {
    "lift": (("lifts", "lifted", "lifting"), ("raises", "raised", "raising"), ("hoists", "hoisted", "hoisting")),
    "drop": (("drops", "dropped", "dropping"), ("releases", "released", "releasing")),
    "wash": (("washes", "washed", "washing"), ("cleans", "cleaned", "cleaning"), ("rinses", "rinsed", "rinsing")),
    "carry": (("carries", "carried", "carrying"), ("transports", "transported", "transporting")),
    "throw": (("throws", "thrown", "throwing"), ("tosses", "tossed", "tossing"), ("flings", "flung", "flinging")),
    "paint": (("paints", "painted", "painting"), ("decorates", "decorated", "decorating")),
    "wrap": (("wraps", "wrapped", "wrapping"), ("packs", "packed", "packing")),
    "inspect": (("inspects", "inspected", "inspecting"), ("examines", "examined", "examining")),
    "push": (("pushes", "pushed", "pushing"), ("shoves", "shoved", "shoving")),
    "repair": (("repairs", "repaired", "repairing"), ("fixes", "fixed", "fixing"), ("mends", "mended", "mending")),
}
OBJECTS = {
    "box": ("box", "carton", "crate"),
    "bottle": ("bottle", "flask"),
    "cup": ("cup", "mug"),
    "bag": ("bag", "backpack", "rucksack"),
    "book": ("book", "novel"),
    "chair": ("chair", "stool", "seat"),
    "picture": ("picture", "photo"),
    "pot": ("pot", "saucepan"),
    "lamp": ("lamp", "light"),
    "towel": ("towel", "cloth"),
}
PLACES = {
    "kitchen": ("in the kitchen",),
    "garden": ("in the garden", "in the yard"),
    "garage": ("in the garage", "in the workshop"),
    "office": ("in the office", "at the desk"),
    "hallway": ("in the hallway", "in the corridor"),
    "bathroom": ("in the bathroom", "at the sink"),
}
SUBJECTS = ("a man", "the man", "a woman", "the woman", "a boy", "the girl", "a person", "somebody", "someone")
# {verb}: third person, {done}: past participle, {doing}: gerund.
TEMPLATES = (
    "{subject} {verb} {object}",
    "{subject} is {doing} {object}",
    "{subject} starts {doing} {object}",
    "we see {subject} {doing} {object}",
    "{object} is {done} by {subject}",
    "{object} gets {done}",
)
PLACED_TEMPLATES = ("{sentence} {place}", "{place} {sentence}", "{place}, {sentence}")

SPLITS = ("train", "val", "test")
FEATURES = "features.hdf5"
ENCODER = "text_encoder"

# All lengths below are shares of the video's duration.
MIN_ACTION, MAX_ACTION = 0.10, 0.50
MIN_DISTRACTOR = 0.06
MIN_GAP = 0.03
PLACE_WEIGHT = 0.5
SHARING = 0.6  # how many of a video's actions share their verb or their object with an earlier one
RAMP_SECONDS = 0.8  # an action fades in and out over this time, centred on its annotated bounds


@dataclass(frozen=True)
class Segment:
    """Something happening from `start` to `end` (seconds): concepts, and a sentence unless it is a distractor."""

    start: float
    end: float
    verb: str
    object: str
    place: str | None
    sentence: str | None


@dataclass(frozen=True)
class Video:
    """One timeline; `segments` are in time order and do not overlap. Duration in seconds."""

    duration: float
    segments: tuple[Segment, ...]

    def annotation(self) -> dict:
        """The video's entry in the annotation file; times in seconds."""
        told = [segment for segment in self.segments if segment.sentence is not None]
        return {
            "duration": self.duration,
            "timestamps": [[segment.start, segment.end] for segment in told],
            "sentences": [segment.sentence for segment in told],
        }


def write_synthetic_dataset(
    folder: str | os.PathLike, options: SyntheticOptions | None = None, log: Callable[[str], None] = print
) -> Path:
    """Write the whole dataset into `folder` and return the folder; the annotation files come last."""
    options = options or SyntheticOptions()
    counts = dict(zip(SPLITS, (options.num_train, options.num_val, options.num_test), strict=True))
    folder = Path(folder)
    videos = {
        split: {f"{split}_{index:04d}": make_video(split, index, options.seed) for index in range(count)}
        for split, count in counts.items()
    }
    annotations = {split: {vid: video.annotation() for vid, video in videos[split].items()} for split in SPLITS}
    write_features(folder / FEATURES, videos, options)
    train_sentences = [sentence for entry in annotations["train"].values() for sentence in entry["sentences"]]
    write_tiny_encoder(folder / ENCODER, train_sentences, hidden_size=64, vocab_size=1000, seed=options.seed)
    for split, entries in annotations.items():
        write_annotations(folder, split, entries, log)
    log(f"{folder / FEATURES}: {options.dim} dimensions, {options.rows_per_second:g} rows per second")
    log(f"{folder / ENCODER}: random text encoder")
    return folder


def write_annotations(folder: Path, split: str, entries: dict[str, dict], log: Callable[[str], None]) -> None:
    """Write the annotation file of a split, from the entries of its videos."""
    path = folder / f"{split}.json"
    with atomic_path(os.fspath(path)) as scratch:
        Path(scratch).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    log(f"{path}: {len(entries)} videos, {sum(len(entry['sentences']) for entry in entries.values())} sentences")


def write_features(path: Path, videos: dict[str, dict[str, Video]], options: SyntheticOptions) -> None:
    """Write one float32 dataset [T0, dim] per video id; the file appears whole or not at all."""
    concepts = concept_vectors(options.dim, options.seed)
    with atomic_path(os.fspath(path)) as scratch, h5py.File(scratch, "w") as file:
        file.attrs["description"] = "Synthetic features, made by tools/make_synthetic.py; not from real videos."
        file.attrs.update(asdict(options))
        for split, entries in videos.items():
            for index, (vid, video) in enumerate(entries.items()):
                rng = np.random.default_rng([options.seed, SPLITS.index(split), index, 1])
                file[vid] = make_features(video, concepts, options, rng)


def concept_vectors(dim: int, seed: int) -> dict[str, np.ndarray]:
    """Concept -> float32 unit vector [dim], for all verbs, objects and places."""
    names = [*VERBS, *OBJECTS, *PLACES]
    vectors = np.random.default_rng(seed).standard_normal((len(names), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return dict(zip(names, vectors.astype(np.float32), strict=True))


def make_video(split: str, index: int, seed: int) -> Video:
    """The timeline and the sentences of one video."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 0])
    duration = round(float(rng.uniform(20, 60)), 2)
    num_actions = int(rng.choice([3, 4, 5, 6], p=[0.45, 0.35, 0.15, 0.05]))
    num_distractors = int(rng.choice([1, 2], p=[0.7, 0.3]))
    pairs = choose_pairs(num_actions + num_distractors, rng)
    told = np.arange(len(pairs)) < num_actions
    order = rng.permutation(len(pairs))
    segments = []
    for position, (start, end) in zip(order, choose_bounds(told[order], rng), strict=True):
        verb, thing = pairs[position]
        place = str(rng.choice(list(PLACES))) if rng.random() < 0.5 else None
        sentence = make_sentence(verb, thing, place, rng) if told[position] else None
        segments.append(Segment(round(start * duration, 2), round(end * duration, 2), verb, thing, place, sentence))
    return Video(duration, tuple(segments))


def choose_pairs(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """`count` different (verb, object) pairs, many of which share their verb or their object with an earlier one."""
    pairs = []
    while len(pairs) < count:
        verb, thing = str(rng.choice(list(VERBS))), str(rng.choice(list(OBJECTS)))
        if pairs and rng.random() < SHARING:
            known_verb, known_thing = pairs[rng.integers(len(pairs))]
            verb, thing = (known_verb, thing) if rng.random() < 0.5 else (verb, known_thing)
        if (verb, thing) not in pairs:
            pairs.append((verb, thing))
    return pairs


def choose_bounds(told: np.ndarray, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Non-overlapping (start, end) per segment in time order, as shares of the duration.

    Args:
        told: bool [S], whether the segment has a sentence. Such a segment is MIN_ACTION to MAX_ACTION long.
    """
    num_gaps = len(told) + 1
    shortest = np.where(told, MIN_ACTION, MIN_DISTRACTOR)
    # What the shortest segments leave over is dealt out unevenly to the segments, for diverse lengths, and the gaps.
    appetite = np.concatenate([np.where(told, 0.7, 0.1), np.full(num_gaps, 0.08)])
    extra = rng.dirichlet(appetite) * (1 - shortest.sum() - num_gaps * MIN_GAP)
    lengths = np.minimum(shortest + extra[: len(told)], MAX_ACTION)
    gaps = MIN_GAP + extra[len(told) :]
    gaps += (1 - lengths.sum() - gaps.sum()) / num_gaps  # what MAX_ACTION cut off goes to the gaps
    starts = np.cumsum(gaps[:-1]) + np.cumsum(lengths) - lengths
    return [(float(start), float(end)) for start, end in zip(starts, np.minimum(starts + lengths, 1), strict=True)]


def make_sentence(verb: str, thing: str, place: str | None, rng: np.random.Generator) -> str:
    """An English sentence that says all of the action's concepts, in random surface forms, tense and word order."""
    finite, done, doing = VERBS[verb][rng.integers(len(VERBS[verb]))]
    sentence = str(rng.choice(TEMPLATES)).format(
        subject=rng.choice(SUBJECTS),
        object=f"{rng.choice(['a', 'the'])} {rng.choice(OBJECTS[thing])}",
        verb=finite,
        done=done,
        doing=doing,
    )
    if place is not None:
        sentence = str(rng.choice(PLACED_TEMPLATES)).format(sentence=sentence, place=rng.choice(PLACES[place]))
    return f"{sentence[0].upper()}{sentence[1:]}."


def make_features(
    video: Video, concepts: dict[str, np.ndarray], options: SyntheticOptions, rng: np.random.Generator
) -> np.ndarray:
    """Feature rows float32 [T0, dim]; row r lies at (r + 1/2) / T0 of the duration."""
    dim = options.dim
    num_rows = max(1, math.ceil(video.duration * options.rows_per_second))
    seconds = (np.arange(num_rows) + 0.5) / num_rows * video.duration
    rows = rng.standard_normal((num_rows, dim)) * (options.noise / math.sqrt(dim))
    background = rng.standard_normal(dim)
    rows += options.background * background / np.linalg.norm(background)
    for segment in video.segments:
        signal = concepts[segment.verb] + concepts[segment.object]
        if segment.place is not None:
            signal = signal + PLACE_WEIGHT * concepts[segment.place]
        rows += presence(seconds, segment.start, segment.end)[:, None] * signal
    return rows.astype(np.float32)


def presence(seconds: np.ndarray, start: float, end: float) -> np.ndarray:
    """The share of an action from `start` to `end` that is seen at each time, 0 to 1: [T0] -> [T0]; 1/2 at its bounds."""
    rising = (seconds - start) / RAMP_SECONDS + 0.5
    falling = (end - seconds) / RAMP_SECONDS + 0.5
    return np.clip(np.minimum(rising, falling), 0, 1)
