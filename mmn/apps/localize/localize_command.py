"""The work of tools/localize.py: find the moments of some sentences in one video, print them, write files of them."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmn.apps.localize.found_files import format_results, plot_results, write_clips, write_json
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.query_checks import check_top_k, checked_queries
from mmn.apps.localize.video_source import VideoSource, encode_source
from mmn.config.load import config_keys
from mmn.utils.errors import ConfigError, DataError


@dataclass(frozen=True)
class Outputs:
    """Files to write, None for those that nobody wants: json lines, a picture, a folder of video clips."""

    json: str | None = None
    plot: str | None = None
    clip_dir: str | None = None


def split_queries(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sentences, and the KEY VALUE pairs that may follow them: the first word that looks like a config key ends them.

    >>> split_queries(["a person runs", "someone sits", "MODEL.DEVICE", "cpu"])
    (['a person runs', 'someone sits'], ['MODEL.DEVICE', 'cpu'])
    """
    stop = next((number for number, word in enumerate(words) if looks_like_key(word)), len(words))
    return list(words[:stop]), list(words[stop:])


def looks_like_key(word: str) -> bool:
    """Tell whether a word is a full config key or meant to be one, as against a query such as "Mr.Bean" or "U.S".

    >>> [looks_like_key(word) for word in ("MODEL.DEVICE", "SOLVR.LR", "U.S", "Mr.Bean")]
    [True, True, False, False]
    """
    if not re.fullmatch(r"[A-Z]\w*(\.[A-Z]\w*)+", word):
        return False
    keys = config_keys()
    is_in_section = word.startswith(tuple({key[: key.index(".") + 1] for key in keys if "." in key}))
    return is_in_section or bool(difflib.get_close_matches(word.upper(), keys, n=1, cutoff=0.8))


def localize_video(
    localizer: MomentLocalizer,
    source: VideoSource,
    queries: Sequence[str],
    top_k: int,
    outputs: Outputs,
    window: float | None = None,
    overlap: float | None = None,
    cache: str | None = None,
) -> None:
    """Print a table per query and write the files that are asked for.

    Raises UserError, before the video is encoded where that can be known: see `MomentLocalizer` and what is needed for
    the outputs.
    """
    check_top_k(top_k)
    checked_queries(queries)
    _check_outputs(outputs, source, len(queries))
    video = encode_source(localizer, source, window, overlap, cache)
    results = localizer.localize(video, queries, top_k)
    print(format_results(video, results), flush=True)
    if outputs.json:
        write_json(outputs.json, video, results)
    if outputs.plot:
        plot_results(outputs.plot, localizer, source, video, results)
    if outputs.clip_dir:
        write_clips(outputs.clip_dir, source.video, results)
    for path in filter(None, (outputs.json, outputs.plot, outputs.clip_dir)):
        print(f"wrote {path}")


def _check_outputs(outputs: Outputs, source: VideoSource, num_queries: int) -> None:
    if outputs.plot:
        from mmn.apps.visual.localization_picture import check_drawable

        if not outputs.plot.lower().endswith(".png"):
            raise ConfigError(f"--plot {outputs.plot} is written as a png file: let the name end in .png")
        check_drawable(num_queries)
    if outputs.clip_dir:
        from mmn.apps.video import encode  # noqa: F401, it needs an optional library, and says so

        if not source.is_file:
            raise DataError(f"--clip-dir cuts moments out of a video file, but {source.video} is none: give its path")
