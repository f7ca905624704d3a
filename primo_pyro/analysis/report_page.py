"""The page that a report is put into: its style on screens, phones and paper, and tables that sort."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["as_number", "page", "picture", "table"]


LONG = 24  # letters; a cell with more may be written in lines


def page(title: str, sections: Iterable[str]) -> str:
    """One HTML page that needs no other file and no network."""
    return PAGE.substitute(title=escape(title), sections="\n".join(filter(None, sections)))


def as_number(value: Any, form: str) -> str:
    """A number by its format, and a dash where it is not known.

    >>> as_number(0.25, "{:.0%}"), as_number(float("nan"), "{:.2f}")
    ('25%', '-')
    """
    return "-" if pd.isna(value) else form.format(value)


def table(
    frame: pd.DataFrame,
    titles: Mapping[str, str],
    forms: Mapping[str, str] | None = None,
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """A table whose columns sort at a click, the first column being the heading of each line.

    Parameters
    ----------
    frame
        The cells. Texts that are not numbers are written as they are.
    titles
        Column to its title, in order; other columns are left out.
    forms
        Column to the format of its numbers.
    groups
        Titles over several columns, each with the number of its columns, from the left.

    Examples
    --------
    >>> frame = pd.DataFrame({"block": ["<gas>"], "v": [0.25]})
    >>> text = table(frame, {"block": "Block", "v": "V"}, {"v": "{:.1f}"})
    >>> "<th scope=row>&lt;gas&gt;</th><td data-sort=0.25>0.2</td>" in text
    True
    """
    forms = forms or {}
    heads = "".join(
        f"<th scope=col{'' if name in forms else _class_of(title)}>"
        f"<button type=button>{escape(title)}</button></th>"
        for name, title in titles.items()
    )
    over = "".join(f"<th scope=colgroup colspan={width}>{escape(title)}</th>" for title, width in groups)
    lines = []
    for row in frame[list(titles)].itertuples(index=False):
        cells = []
        for place, (name, value) in enumerate(zip(titles, row, strict=True)):
            if name in forms:
                number = "" if pd.isna(value) else f"{float(value):g}"
                attributes, text = f" data-sort={number}" if number else "", as_number(value, forms[name])
            else:
                text = escape("-" if pd.isna(value) else str(value))
                attributes = _class_of(text)
            cells.append(f"<th scope=row>{text}</th>" if place == 0 else f"<td{attributes}>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f"<div class=scroll tabindex=0><table class=sorts><thead>{f'<tr>{over}</tr>' if over else ''}"
        f"<tr>{heads}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def _class_of(text: str) -> str:
    return ' class="text long"' if len(text) > LONG else " class=text"


def picture(
    draw: Callable[..., Axes], *args: Any, size: tuple[float, float] = (6.4, 4.2), about: str = ""
) -> str:
    """An ``img`` that holds its own bytes; its title is the text for readers who cannot see it."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    ax = draw(*args, ax=figure.subplots())
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120)
    text = escape(f"{about} {ax.get_title(loc='left')}".strip(), quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


PAGE = Template("""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2 }
h1, h3, .lead, td, th { overflow-wrap: break-word }
h2 { margin-top: 2.5rem }
p, figcaption { max-width: 46rem }
img { max-width: 100%; height: auto }
figure { margin: 0 }
figcaption { font-size: .95rem }
.scroll { overflow-x: auto; max-width: 100%; margin-top: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
thead th { font-weight: 600; vertical-align: bottom }
th[scope=row] { text-align: left; font-weight: normal; min-width: 5rem }
th:first-child, .text { text-align: left }
td.text { white-space: nowrap }
.long, td.long { min-width: 11rem; max-width: 24rem; white-space: normal }
th[scope=colgroup] { text-align: center; color: #555; font-weight: normal }
th[scope=colgroup]:empty { border-bottom: 0 }
th button { font: inherit; color: inherit; background: none; border: 0; cursor: pointer; text-align: inherit;
  position: relative; padding: 0 .9em 0 0 }
th button::after { content: "\\2195"; color: #999; position: absolute; right: 0; bottom: 0 }
th[aria-sort=ascending] button::after { content: "\\2191"; color: #000 }
th[aria-sort=descending] button::after { content: "\\2193"; color: #000 }
.lead { font-size: 1.2rem }
.note { color: #555; font-size: .95rem }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1.5rem;
  align-items: start }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 1rem }
.card { border: 1px solid #ccc; border-radius: .5rem; padding: .75rem; break-inside: avoid }
.card h3, .card p { margin: 0 0 .3rem }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 .75rem; margin: .5rem 0 0; font-size: .9rem }
dt { color: #555 }
dd { margin: 0; text-align: right }
@media (max-width: 40rem) {
  body { margin: 1rem auto; font-size: .94rem }
  th, td { padding: .25rem .45rem }
  .scroll th[scope=row], .scroll thead tr:last-child th:first-child { position: sticky; left: 0;
    background: #fff }
}
@media print {
  @page { margin: 15mm }
  :root { font-size: 9.5pt }
  body { max-width: none; margin: 0; padding: 0 }
  h2 + p { break-after: avoid }
  h2 { margin-top: 1.2rem; break-after: avoid }
  .scroll { overflow: visible }
  th, td { padding: .12rem .35rem }
  th button::after { content: "" !important }
  tr, figure { break-inside: avoid }
  .two { grid-template-columns: 1fr 1fr }
  .cards { grid-template-columns: repeat(3, 1fr) }
}
</style>
</head><body>
$sections
<script>
// Tables sort at a click on a heading: numbers by what they are, texts by their letters, dashes last.
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells
  const first = (head) => head.classList.contains("text") ? "ascending" : "descending"
  for (const head of heads) head.querySelector("button").addEventListener("click", () => {
    const place = head.cellIndex, body = table.tBodies[0]
    const other = { ascending: "descending", descending: "ascending" }
    const order = other[head.getAttribute("aria-sort")] || first(head)
    const sign = order === "ascending" ? 1 : -1
    const numbers = !head.classList.contains("text")
    const value = (row) => numbers ? row.cells[place].dataset.sort : row.cells[place].textContent
    const rows = Array.from(body.rows)
    rows.sort((a, b) => {
      const x = value(a), y = value(b)
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined)
      return sign * (numbers ? x - y : x.localeCompare(y, undefined, { numeric: true }))
    })
    for (const cell of heads) cell.removeAttribute("aria-sort")
    head.setAttribute("aria-sort", order)
    body.append(...rows)
  })
}
</script>
</body></html>
""")
