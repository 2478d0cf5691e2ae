"""Time the test of a real split from feature file to table: as `mmn test` does it, and by the plain form, video by video.

python -m mmn.apps.benchmark.test_split --annotations charades_test.json [--setting charades] [--videos N] [KEY VALUE ...]

The sentences, their moments and the videos' lengths are the file's. Features are simulated at the released width; weights
and text encoder are random, of the released sizes, and the same for both forms. Each form begins with reading the
checkpoint, the annotations and the features, and ends with the recall table. The plain form is `mmn.reference`: dense
convolutions, one video at a time. With --videos it is a part of the split, every k-th video: the plain form takes minutes
for all of it.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from terminaltables import AsciiTable
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from yacs.config import CfgNode

from mmn import reference
from mmn.apps.benchmark.batch_sizes import SETTINGS
from mmn.apps.benchmark.forms import recall_hits
from mmn.apps.benchmark.latency import ROWS_PER_SECOND
from mmn.apps.benchmark.reference_arguments import reference_params, reference_settings
from mmn.apps.benchmark.settings import measured_config
from mmn.apps.synthetic.options import SimulationOptions
from mmn.apps.synthetic.simulated_features import simulate_features
from mmn.apps.synthetic.tiny_encoder import build_tokenizer
from mmn.data.annotation_files import read_annotation_json
from mmn.data.annotations import VideoAnnotation, read_annotations
from mmn.data.splits import Splits
from mmn.data.tokenizer import QueryTokenizer
from mmn.engine.run import load_model, test
from mmn.evaluation.recall import format_table, recall_metrics, title_of
from mmn.modeling import build_model
from mmn.utils.cli import run_tool
from mmn.utils.errors import UserError
from mmn.utils.logger import get_logger
from mmn.utils.memory import reuse_freed_memory
from mmn.utils.number_arguments import whole_number

NOISE = 2.0  # of the simulated rows
VOCABULARY = 30522
FORMS = ("ours", "plain")
COLUMNS = ("", "seconds", "processor seconds", "ms per video")
AGREEING = 0.2  # percentage points: random weights make scores so equal that rounding decides between some moments


class Measured(NamedTuple):
    """Measures of one form: wall seconds, processor seconds with those of loader processes, and the table it prints."""

    seconds: float
    work: float
    table: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", required=True, metavar="FILE", help="the split's, as json by video")
    parser.add_argument("--setting", choices=list(SETTINGS), default="charades")
    parser.add_argument(
        "--videos", type=whole_number, metavar="N", help="about so many, spread over the split; default all"
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to override")
    args = parser.parse_args()
    get_logger().setLevel(logging.WARNING)
    print_split_test(args.annotations, args.setting, args.videos, args.forms, args.options)


def print_split_test(
    annotations: str, setting: str, num_videos: int | None, forms: Sequence[str], options: Sequence[str]
) -> dict[str, Measured]:
    """Measure the forms, print their times and tables, and return them.

    Args:
        num_videos: about so many of the split, every k-th; None takes all.
        forms: names among FORMS. options: further KEY VALUE pairs.
    Raises UserError where the tables of both forms differ by more than AGREEING.
    """
    reuse_freed_memory()
    ways: dict[str, Callable[[CfgNode, str], str]] = {"ours": table_of_test, "plain": plain_table}
    with tempfile.TemporaryDirectory() as root:
        cfg, ckpt, count = write_split(annotations, setting, num_videos, Path(root), options)
        found = {form: _measured(ways[form], cfg, ckpt) for form in forms}
    rows = [
        [form, f"{one.seconds:.2f}", f"{one.work:.2f}", f"{1000 * one.seconds / count:.1f}"]
        for form, one in found.items()
    ]
    print(AsciiTable([list(COLUMNS), *rows], f" {setting}, {count} videos, from feature file to table ").table)
    for form, one in found.items():
        print(f"{form}:\n{one.table}")
    if len(found) == len(FORMS):
        ours, plain = (found[form] for form in FORMS)
        print(f"plain / ours: {plain.seconds / ours.seconds:.2f}, processor seconds {plain.work / ours.work:.2f}")
        _check_agreement(ours.table, plain.table)
    return found


def _check_agreement(ours: str, plain: str) -> None:
    difference = float(np.abs(percentages(ours) - percentages(plain)).max())
    if difference > AGREEING:
        raise UserError(f"the tables of both forms differ by {difference:.2f} points: one of them is wrong")
    print(f"the tables agree: the largest difference is {difference:.2f} points")


def percentages(table: str) -> np.ndarray:
    """The numbers under the names of a recall table."""
    return np.array([float(number) for number in re.findall(r"(?<=\| )\d+\.\d\d", table)])


def _measured(form: Callable[[CfgNode, str], str], cfg: CfgNode, ckpt: str) -> Measured:
    start = time.perf_counter(), sum(os.times()[:4])
    table = form(cfg, ckpt)
    return Measured(time.perf_counter() - start[0], sum(os.times()[:4]) - start[1], table)


def write_split(
    annotations: str, setting: str, num_videos: int | None, root: Path, options: Sequence[str]
) -> tuple[CfgNode, str, int]:
    """Write annotations, features, tokenizer and checkpoint under `root` -> config, checkpoint, number of videos."""
    encoder = root / "text_encoder"
    cfg = measured_config(SETTINGS[setting], str(encoder), ["DATASETS.ROOT", str(root), *options])
    entry = Splits(cfg).named("TEST")[0].entry
    content = read_annotation_json(annotations)
    step = 1 if num_videos is None else max(1, round(len(content) / num_videos))
    kept = {vid: content[vid] for vid in list(content)[::step]}
    Path(entry.annotation).parent.mkdir(parents=True, exist_ok=True)
    Path(entry.annotation).write_text(json.dumps(kept))
    (track,) = entry.tracks
    made = SimulationOptions(cfg.MODEL.MMN.FEATPOOL.INPUT_SIZE, NOISE, ROWS_PER_SECOND, feature_key=track.key)
    simulate_features([entry.annotation], track.path, made, log=lambda line: None)
    sentences = [
        sentence for video in read_annotations(entry.annotation, entry.time_unit) for sentence in video.sentences
    ]
    filler = (f"word{number}" for number in range(40000))
    build_tokenizer([*sentences, *filler], VOCABULARY, 512).save_pretrained(encoder)
    torch.manual_seed(0)
    model = _with_distinct_scores(build_model(cfg, pretrained_text=False))
    ckpt = str(root / "model.pth")
    torch.save({"model": model.state_dict(), "config": cfg.dump()}, ckpt)
    return cfg, ckpt, len(kept)


def _write_tokenizer(folder: Path, videos: Sequence[VideoAnnotation]) -> None:
    """One that knows the words of the split, with as many others as fill the vocabulary of the released encoder."""
    sentences = [sentence for video in videos for sentence in video.sentences]
    filler = (f"word{number}" for number in range(40000))
    build_tokenizer([*sentences, *filler], VOCABULARY, 512).save_pretrained(folder)


def _with_distinct_scores(model: nn.Module) -> nn.Module:
    """The model without biases, which make the scores of an untrained one so equal that rounding decides on the first."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and not name.startswith("text_encoder.bert"):
                parameter.zero_()
    return model


# ---- The forms ----


def table_of_test(cfg: CfgNode, ckpt: str) -> str:
    """The table that `mmn test` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        test(cfg, torch.device("cpu"), ckpt)
    return printed.getvalue().strip()


@torch.no_grad()
def plain_table(cfg: CfgNode, ckpt: str) -> str:
    """The table by `mmn.reference`, one video after the other."""
    split = Splits(cfg).named("TEST")[0]
    model = load_model(cfg, torch.device("cpu"), [split], ckpt).eval()
    encoder, params, settings = model.text_encoder.bert, reference_params(model), reference_settings(cfg)
    tokenizer = QueryTokenizer(cfg.MODEL.MMN.TEXT_ENCODER.PRETRAINED)
    videos, hits, ious = read_annotations(split.entry.annotation, split.entry.time_unit), [], []
    (track,) = split.entry.tracks
    with h5py.File(track.path) as file:
        for annotation in videos:
            rows = torch.from_numpy(file[track.key.replace("{vid}", annotation.video_id)][()])
            video = plain_video(annotation, rows, tokenizer, settings)
            ranked = reference.localize(video, encoder, params, settings)
            for (moments, _), (truth,) in zip(ranked, video.moments, strict=True):
                hits.append(recall_hits(moments, truth, split.entry.thresholds))
                ious.append(float(reference.temporal_iou(moments[0], truth)))
    metrics = recall_metrics(np.sum(hits, axis=0).tolist(), len(hits), split.entry.thresholds)
    metrics["mIoU"] = float(np.mean(ious))
    return format_table(metrics, title_of(f"{cfg.DATASETS.NAME} {split.name}", len(videos), len(hits), ">="))


def plain_video(
    annotation: VideoAnnotation, rows: torch.Tensor, tokenizer: QueryTokenizer, settings: reference.Settings
) -> reference.Video:
    """A video of a split as `mmn.reference` takes it, of its feature rows [T0, D]."""
    tokens = [torch.from_numpy(ids) for ids in tokenizer(annotation.sentences)]
    return reference.Video(
        reference.resample(rows, settings.num_pre_clips),
        pad_sequence(tokens, batch_first=True, padding_value=tokenizer.pad_id),
        torch.tensor([len(ids) for ids in tokens]),
        [torch.from_numpy(moments) for moments in annotation.moments_by_sentence],
        annotation.duration,
    )


if __name__ == "__main__":
    run_tool(main)
