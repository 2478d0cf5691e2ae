"""The found moments as html. Every text that comes from outside is escaped."""

import html
from collections.abc import Sequence

from mmn.apps.demo.video_search import Found
from mmn.apps.localize.weak_answers import weak_answer
from mmn.utils.clock import clock

# A button or bar with data-start and data-end moves the player, see `player.js`.


def results_html(found: Found) -> str:
    """The ranked moments, each a button over its place on the video's time axis, and the true moments above them."""
    rows = [_truth_row(found, moment) for moment in found.truth]
    for rank, moment in enumerate(found.moments, start=1):
        iou = None if found.ious is None else found.ious[rank - 1]
        rows.append(_moment_row(found.duration, rank, moment, iou))
    if not found.moments:
        rows.append(message_html("The model finds no moment for this sentence: try other words."))
    head = f'<p class="asked">“{html.escape(found.query)}”</p>'
    hint = "Click a moment to play it. The bars show where it lies in the video."
    if found.truth:
        hint += " IoU is its overlap with the true moment, from 0 to 1."
    weak = weak_answer(found.moments)
    return (
        f'<div class="{found_class(weak)}">{head}{message_html(weak) if weak else ""}<p class="hint">{hint}</p>'
        f"{''.join(rows)}</div>"
    )


def found_class(weak: str) -> str:
    """The class of a list of moments, which is muted where a sentence says that none fits well."""
    return "found weak" if weak else "found"


def message_html(text: str, is_error: bool = False) -> str:
    """A sentence in the place of results."""
    return f'<div class="{"problem" if is_error else "notice"}" role="status">{html.escape(text)}</div>'


def _moment_row(duration: float, rank: int, moment, iou: float | None) -> str:
    notes = [f"score {moment.score:.2f}"]
    if iou is not None:
        notes.append(f"IoU {iou:.2f}")
    return _row("moment", str(rank), duration, moment.start, moment.end, notes)


def _truth_row(found: Found, moment: tuple[float, float]) -> str:
    return _row("moment truth", "true", found.duration, *moment, ["the annotated moment"])


def _row(kind: str, label: str, duration: float, start: float, end: float, notes: Sequence[str]) -> str:
    times = f"{clock(start)} – {clock(end)}"
    return (
        f'<button type="button" class="{kind}" data-start="{start:.3f}" data-end="{end:.3f}" '
        f'aria-label="Play from {clock(start)} to {clock(end)}">'
        f'<span class="rank">{html.escape(label)}</span><span class="times">{times}</span>'
        f'<span class="notes">{html.escape(" · ".join(notes))}</span>'
        f'<span class="track">{bar_html(duration, start, end)}</span></button>'
    )


def bar_html(duration: float, start: float, end: float, kind: str = "") -> str:
    """The part of a video's time axis that a moment takes."""
    left = 100 * min(max(start / duration, 0), 1)
    width = max(100 * min(end / duration, 1) - left, 0.8)
    marked = f' class="{kind}"' if kind else ""
    return f'<span{marked} style="left:{left:.2f}%;width:{width:.2f}%"></span>'
