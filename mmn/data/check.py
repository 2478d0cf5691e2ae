"""All problems of a config's datasets at once, where training would stop at the first."""

from collections.abc import Iterator

from tqdm import tqdm
from yacs.config import CfgNode

from mmn.config.paths_catalog import CatalogEntry
from mmn.data.annotations import parse_video, read_annotation_json
from mmn.data.build import annotation_path, feature_file, find_entry
from mmn.data.features import FeatureFile
from mmn.utils.errors import DataError, UserError


def check_data(cfg: CfgNode) -> None:
    """Print every problem of every split that the config names; raises UserError with their number if there are any."""
    count = 0
    for split in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.VAL, *cfg.DATASETS.TEST)):
        entry = find_entry(cfg, split)
        found = 0
        for problem in split_problems(split, annotation_path(cfg, entry), entry, feature_file(cfg, entry)):
            print(f"{split}: {problem}")
            found += 1
        if not found:
            print(f"{split}: no problem")
        count += found
    if count:
        raise UserError(f"the datasets have {count} problems, listed above: mend them before training")


def split_problems(split: str, path: str, entry: CatalogEntry, features: FeatureFile) -> Iterator[str]:
    """One sentence per problem of a split's annotations and features; each video is looked at."""
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
