"""The work of tools/search.py: open an index with its model, search it, print tables and write a file."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from terminaltables import AsciiTable

from mmn.apps.localize.model_source import ModelSource, load_localizer
from mmn.apps.localize.query_checks import checked_queries
from mmn.apps.localize.weak_answers import muted
from mmn.apps.localize.zero_shot import name_in_address
from mmn.apps.search.moment_index import MomentIndex
from mmn.apps.search.search_results import FoundMoment, SearchResult
from mmn.apps.search.vector_store import VectorStore, open_store
from mmn.evaluation.prediction_file import prediction_record, write_records
from mmn.utils.clock import clock
from mmn.utils.errors import ConfigError
from mmn.utils.hub import is_hub_name

COLUMNS = ("", "video", "start", "end", "score", "contrastive", "IoU", "confidence")


def open_index(
    place: str, ckpt: str | None = None, config_file: str | None = None, options: Sequence[str] = ()
) -> MomentIndex:
    """The index at `place` with its model, for a single search: nothing is read ahead.

    Args:
        ckpt: the model; by default the checkpoint that the index was built by.
        config_file, options: see `MomentLocalizer.from_checkpoint`.
    Raises ConfigError where that is not there any more, and what `MomentIndex` raises.
    """
    store = open_store(place)
    try:
        ckpt = checkpoint_of(store) if ckpt is None else ckpt
        return MomentIndex(store, load_localizer(ModelSource(ckpt, config_file, options)), prewarm=False)
    except BaseException:
        store.close()
        raise


def checkpoint_of(store: VectorStore) -> str:
    """The checkpoint that an index was built by. Raises ConfigError where that is not there any more."""
    ckpt = store.info.model_name
    if name_in_address(ckpt) is None and not os.path.exists(ckpt) and not is_hub_name(ckpt):
        raise ConfigError(
            f"the index {store.place} was built by {ckpt}, which is not there: say where the model is, by --ckpt"
        )
    return ckpt


def check_words(
    sentences: Sequence[str], like: Sequence[str] | None, paraphrases: bool, threshold: float | None
) -> None:
    """Raise ConfigError where it is not clear what is looked for."""
    if like is None:
        checked_queries(list(sentences))
    elif sentences or paraphrases or threshold is not None:
        raise ConfigError("--like is a query of its own: leave out the sentences, --paraphrases and --threshold")


def search_index(
    index: MomentIndex,
    sentences: Sequence[str],
    like: Sequence[str] | None = None,
    paraphrases: bool = False,
    threshold: float | None = None,
    options: Mapping[str, Any] | None = None,
    json_path: str | None = None,
) -> None:
    """Search, print a table per query, and write the file that is asked for.

    Args:
        like: video, start and end of an example, in the place of sentences.
        paraphrases: the sentences are wordings of one query.
        threshold, options: those of `MomentIndex.search`.
    """
    check_words(sentences, like, paraphrases, threshold)
    options = dict(options or {})
    if like is not None:
        results = [index.search_like(like[0], *map(_seconds, like[1:]), **options)]
    elif paraphrases:
        results = [index.search_paraphrases(sentences, threshold=threshold, **options)]
    else:
        results = index.search(sentences, threshold=threshold, **options)
    print(format_found(index, results, threshold), flush=True)
    if json_path:
        write_found(json_path, index, results)
        print(f"wrote {json_path}")


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--like takes a video, a start and an end in seconds, but {text!r} is no number") from error


def format_found(index: MomentIndex, results: Sequence[SearchResult], threshold: float | None = None) -> str:
    """A line about the index, then a table per query."""
    lines = [f"{index.store.place}: {len(index.store.videos())} videos with {index.store.num_moments} moments"]
    for result in results:
        sure = "" if result.confidence is None else f"  (confidence {result.confidence:.3f})"
        lines += ["", " ".join(result.query.split()) + sure]
        if result.nothing_fits:
            lines.append(f"Nothing in this corpus fits: the confidence is below {threshold:g}.")
        elif not result.moments:
            lines.append("There is no moment to find: the library, or what was asked for of it, is empty.")
        elif result.weak:
            lines += [result.weak, muted(_table(result.moments))]
        else:
            lines.append(_table(result.moments))
    return "\n".join(lines)


def _table(moments: Sequence[FoundMoment]) -> str:
    rows = []
    for rank, moment in enumerate(moments, start=1):
        numbers = [moment.score, moment.contrastive, moment.iou, moment.confidence]
        times = [clock(moment.start), clock(moment.end)]
        rows.append([str(rank), moment.video, *times, *(f"{number:.3f}" for number in numbers if number is not None)])
    table = AsciiTable([list(COLUMNS[: len(rows[0])]), *rows])
    table.justify_columns = {column: "right" for column in range(len(rows[0])) if column != 1}
    return table.table


def write_found(path: str, index: MomentIndex, results: Sequence[SearchResult]) -> None:
    """Write a prediction file (`mmn.evaluation.prediction_file`), without true moments.

    As a line is of one video, a query has one line for each video that it was found in, under the same qid; `ranks` are
    the places of its moments in the whole answer, from 1. A query without moments has one line, of no video.
    """
    known = index.store.videos()
    records = []
    for number, result in enumerate(results):
        ranked = list(enumerate(result.moments, start=1))
        for video in dict.fromkeys(moment.video for moment in result.moments) or [""]:
            own = [(rank, moment) for rank, moment in ranked if moment.video == video]
            windows = [[moment.start, moment.end, moment.score] for _, moment in own]
            duration = known[video].duration if video in known else None
            record = prediction_record(number, result.query, video, duration, [], windows)
            records.append(record | {"ranks": [rank for rank, _ in own], "confidence": result.confidence})
    write_records(path, records)
