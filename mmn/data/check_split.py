"""All problems of a config's datasets at once, where training would stop at the first."""

from collections.abc import Iterable, Iterator, Mapping

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.data.annotations import parse_video, read_annotation_json
from mmn.data.loaders import annotation_path, feature_file, find_entry
from mmn.utils.errors import DataError, UserError


def report_problems(problems: Mapping[str, Iterable[str]]) -> None:
    """Print every problem of every split; raises UserError with their number if there are any.

    Args:
        problems: split name -> one sentence per problem.
    """
    count = 0
    for split, sentences in problems.items():
        found = 0
        for sentence in sentences:
            print(f"{split}: {sentence}")
            found += 1
        if not found:
            print(f"{split}: no problem")
        count += found
    if count:
        raise UserError(f"the datasets have {count} problems, listed above: mend them before training")


def split_problems(cfg: CfgNode, split: str) -> Iterator[str]:
    """One sentence per problem of a split's annotations and features; each video is looked at."""
    entry = find_entry(cfg, split)
    path, features = annotation_path(cfg, entry), feature_file(cfg, entry)
    try:
        content = read_annotation_json(path)
    except DataError as error:
        yield str(error)
        return
    num_sentences = 0
    for video_id, fields in tqdm(content.items(), desc=split, leave=False):
        try:
            num_sentences += len(parse_video(path, video_id, fields, entry.time_unit).sentences)
        except DataError as error:
            yield str(error)
    if not num_sentences:
        yield f"the annotation file {path} holds no sentence with start < end"
    features.waits = ()  # a damaged file has many such videos
    try:
        features.open()
    except DataError as error:
        yield str(error)
        return
    for video_id in tqdm(content, desc=f"{split} features", leave=False):
        try:
            features.read(video_id)
        except DataError as error:
            yield str(error)
