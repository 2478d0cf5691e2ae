"""One html file that needs nothing else: pictures are embedded, and nothing is fetched."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmn.utils.files import atomic_path

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #222; background: #f5f5f3; margin: 0; }
main { max-width: 1200px; margin: 0 auto; padding: 24px; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
p.note { color: #555; margin: .2rem 0 .8rem; max-width: 75ch; }
figure { margin: 0 0 20px; padding: 16px; background: #fff; border: 1px solid #e0e0dc; border-radius: 8px; }
figure img { width: 100%; height: auto; display: block; } figcaption { color: #555; margin-top: 8px; font-size: .92rem; }
table { border-collapse: collapse; background: #fff; border: 1px solid #e0e0dc; }
th, td { padding: 6px 10px; font-size: .9rem; text-align: right; border-bottom: 1px solid #eee; }
td { font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: #444; } .wide { overflow-x: auto; }
nav a { margin-right: 1.1rem; color: #0072B2; }
"""
# The policy keeps the page from fetching anything, whatever a query's text holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass
class Section:
    """A heading with its pictures.

    Attributes:
        title, note: plain texts.
        pictures: (path of a png file, caption) in order.
        table: names and values of a table of one row.
    """

    title: str
    note: str = ""
    pictures: list[tuple[str, str]] = field(default_factory=list)
    table: Mapping[str, str] = field(default_factory=dict)


def write_page(path: str, title: str, note: str, sections: Sequence[Section]) -> None:
    """Write the page; all texts are escaped. Picture by picture, so that it never is in memory as a whole."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>\n"
            f'<h1>{html.escape(title)}</h1>\n<p class="note">{html.escape(note)}</p>\n<nav>'
        )
        for number, section in enumerate(sections):
            file.write(f'<a href="#s{number}">{html.escape(section.title)}</a>')
        file.write("</nav>\n")
        for number, section in enumerate(sections):
            file.write(f'<h2 id="s{number}">{html.escape(section.title)}</h2>\n')
            if section.note:
                file.write(f'<p class="note">{html.escape(section.note)}</p>\n')
            if section.table:
                file.write(_table(section.table))
            for picture, caption in section.pictures:
                file.write(_figure(picture, caption))
        file.write("</main></body></html>\n")


def _table(values: Mapping[str, str]) -> str:
    names = "".join(f"<th>{html.escape(name)}</th>" for name in values)
    cells = "".join(f"<td>{html.escape(value)}</td>" for value in values.values())
    return f'<div class="wide"><table><tr>{names}</tr><tr>{cells}</tr></table></div>\n'


def _figure(picture: str, caption: str) -> str:
    with open(picture, "rb") as file:
        data = base64.b64encode(file.read()).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'
