"""The moments found in a library, and the library itself, as html. Every text that comes from outside is escaped."""

import html
from collections.abc import Iterable
from urllib.parse import quote

from mmn.apps.demo.result_html import bar_html, found_class, message_html
from mmn.apps.demo.video_library import FoundInLibrary, LibraryFound, LibraryState, ShownMoment
from mmn.utils.clock import clock

# A click on what has data-start plays data-source in the library's player, see `player.js`; one on what has data-like asks
# for more like it, see `library_tab.py`.

MAX_TRUTH = 20  # true moments that are listed
NOTHING_FITS = (
    "Nothing in this library fits: the confidence is {confidence:.0f} %, less than what you ask for. Lower the least "
    "confidence to see the nearest moments."
)
NOTHING_LEFT = "No moment is left: search more videos, or other lengths."
HINT = "Click a moment to play it. The bars show where it lies in its video."
TRUTH_HINT = " Orange is true, as annotated; IoU is the overlap with it, from 0 to 1."


def library_html(found: LibraryFound) -> str:
    """The ranked moments, each with its video, a frame and a bar, and below them those that are known to be true."""
    rows = [_row(rank, moment) for rank, moment in enumerate(found.moments, start=1)]
    if rows:
        videos = len({moment.video for moment in found.moments})
        summary = f"{_count(len(rows), 'moment')} in {videos} of {_count(found.num_videos, 'video')}. {HINT}"
        rows[:0] = [message_html(found.weak)] if found.weak else []
        rows.insert(bool(found.weak), f'<p class="hint">{summary}{TRUTH_HINT if found.truth else ""}</p>')
    else:
        sentence = NOTHING_FITS.format(confidence=100 * found.confidence) if found.nothing_fits else NOTHING_LEFT
        rows.append(message_html(sentence))
    return (
        f'<div class="{found_class(found.weak)}"><p class="asked">{html.escape(found.asked)}</p>'
        f"{''.join(rows)}{_truth_html(found.truth)}</div>"
    )


def state_html(state: LibraryState, name: str) -> str:
    """The size of the library, and its progress where videos are being added.

    Args:
        name: the index's; "" where it has none.
    """
    size = f"<b>{_count(state.num_videos, 'video')}</b>, {_count(state.num_moments, 'moment')}"
    library = f"The library {html.escape(name)}".strip()
    parts = [f"<p>{library}: {size}.</p>" if state.num_videos else f"<p>{library} is empty.</p>"]
    if state.adding is not None:
        done, total = state.adding.done, state.adding.total
        parts.append(
            f'<progress max="{total}" value="{done}" aria-label="Videos added"></progress>'
            f"<p>Adding videos: {done} of {total}. What is there can be searched meanwhile.</p>"
        )
    parts.extend(message_html(problem, is_error=True) for problem in state.problems)
    return f'<div class="state" role="status">{"".join(parts)}</div>'


def add_label(state: LibraryState) -> str:
    """The text of the button that adds the videos of the page's list."""
    number = f"{state.num_missing:,} " if state.num_missing > 1 else ""
    return f"Add this page's {'other ' if state.num_videos else ''}{number}video{'s' if number else ''}"


def player_html() -> str:
    """The library's player, which `player.js` fills: a video, a sentence in its place, and what it shows."""
    return (
        '<div class="screen"><video controls playsinline preload="metadata" hidden></video>'
        '<p class="blank" role="status">Click a moment that was found: its video plays here.</p></div>'
        '<p class="caption"></p>'
    )


def video_url(video: str) -> str:
    """The address where `mmn.apps.demo.media` delivers a video, relative to the page."""
    return f"library/video?id={quote(video, safe='')}"


def frame_url(video: str, time: float) -> str:
    """The address where it delivers a small picture of a video at a time in seconds."""
    return f"library/frame?id={quote(video, safe='')}&time={time:.2f}"


def _row(rank: int, moment: FoundInLibrary) -> str:
    notes = [f"score {moment.score:.2f}"]
    if moment.confidence is not None:
        notes.append(f"confidence {100 * moment.confidence:.0f} %")
    if moment.iou is not None:
        notes.append(f"IoU {moment.iou:.2f}")
    bars = bar_html(moment.duration, moment.start, moment.end)
    bars += "".join(bar_html(moment.duration, start, end, "true") for start, end in moment.truth)
    more = (
        f'<button type="button" class="like" data-like="{html.escape(moment.video)}" data-from="{moment.start:.3f}" '
        f'data-to="{moment.end:.3f}" aria-label="More like {html.escape(_words(moment))}">More like this</button>'
    )
    return f'<div class="hit">{_button(str(rank), moment, notes, bars, "moment")}{more}</div>'


def _truth_html(truth: Iterable[ShownMoment]) -> str:
    """The true moments, folded: they are the answer."""
    truth = list(truth)
    if not truth:
        return ""
    rows = [
        _button("true", moment, ["as annotated"], bar_html(moment.duration, moment.start, moment.end), "moment truth")
        for moment in truth[:MAX_TRUTH]
    ]
    if len(truth) > MAX_TRUTH:
        rows.append(f'<p class="hint">and {len(truth) - MAX_TRUTH:,} more</p>')
    title = f"Where it is annotated: {_count(len(truth), 'moment')}"
    return f'<details class="annotated"><summary>{title}</summary>{"".join(rows)}</details>'


def _button(label: str, moment: ShownMoment, notes: list[str], bars: str, kind: str) -> str:
    """A moment of a video as a button that plays it."""
    name, words = html.escape(moment.video), html.escape(_words(moment))
    if moment.problem:
        picture = '<span class="frame gone" aria-hidden="true">no file</span>'
    else:
        url = html.escape(frame_url(moment.video, (moment.start + moment.end) / 2))
        picture = f'<span class="frame"><img src="{url}" alt="" loading="lazy"></span>'
    return (
        f'<button type="button" class="{kind}" data-start="{moment.start:.3f}" data-end="{moment.end:.3f}" '
        f'data-source="{html.escape(video_url(moment.video))}" data-caption="{words}" '
        f'data-problem="{html.escape(moment.problem)}" aria-label="Play {words}">{picture}'
        f'<span class="name"><span class="rank">{html.escape(label)}</span>{name}</span>'
        f'<span class="times">{clock(moment.start)} – {clock(moment.end)}</span>'
        f'<span class="notes">{html.escape(" · ".join(notes))}</span><span class="track">{bars}</span></button>'
    )


def _words(moment: ShownMoment) -> str:
    return f"{moment.video}, {clock(moment.start)} to {clock(moment.end)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
