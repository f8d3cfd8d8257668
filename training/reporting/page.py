"""HTML pages: functions that escape texts and make elements, and the document with its styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# A report loads nothing, so the policy forbids all loads: a hostile column name might ask for one.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# The tags of a table's headings, and the attribute of a cell with a number.
_ROW, _COLUMN, _NUMBER = 'th scope="row"', 'th scope="col"', ' class="number"'

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2430; --faint: #5c6877; --rule: #dde3ea; --panel: #f5f7fa;
  --first: #2563b8; --second: #c2570c; --third: #23804a; --fourth: #8b3fb0; }
@media (prefers-color-scheme: dark) { :root { --page: #14181e; --text: #e4e9ef; --faint: #9aa7b5; --rule: #303944;
  --panel: #1c222a; --first: #6ea8f7; --second: #f2954d; --third: #63c98b; --fourth: #cf93ee; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 10px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); }
p { margin: 8px 0; overflow-wrap: anywhere; }
.faint, figcaption, caption { color: var(--faint); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px;
  margin: 18px 0 0; padding: 0; }
.tiles div { background: var(--panel); border-radius: 8px; padding: 10px 12px; }
.tiles dt { color: var(--faint); font-size: .82rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600; overflow-wrap: anywhere; }
.tiles dd small { display: block; font-size: .78rem; font-weight: 400; color: var(--faint); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 20px; }
figure { margin: 0; max-width: 560px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--faint); }
svg .label { font-size: 12px; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .dot { fill-opacity: .65; }
svg .soft { stroke-opacity: .35; }
svg .thin { stroke-width: 1.2; stroke-dasharray: 4 4; }
.first { stroke: var(--first); } .second { stroke: var(--second); } .third { stroke: var(--third); }
.fourth { stroke: var(--fourth); } .rule { stroke: var(--faint); }
.dot.first, .bar.first { fill: var(--first); stroke: none; }
.dot.second, .bar.second { fill: var(--second); stroke: none; }
.dot.third { fill: var(--third); stroke: none; } .dot.fourth { fill: var(--fourth); stroke: none; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: .85rem; color: var(--faint); }
.key { display: inline-block; width: 18px; margin-right: 5px; vertical-align: middle; border-top: 3px solid; }
.key.first { color: var(--first); } .key.second { color: var(--second); } .key.third { color: var(--third); }
.key.fourth { color: var(--fourth); } .key.rule { color: var(--faint); border-top-style: dashed; }
.scroll { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 4px; white-space: nowrap; }
th, td { padding: 4px 10px; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { color: var(--faint); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; max-width: 22rem; overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
.confusion td { text-align: right; min-width: 3rem; border: 1px solid var(--page);
  background: color-mix(in srgb, var(--shade) calc(var(--share) * 75%), var(--panel)); }
.confusion td.right { --shade: var(--first); } .confusion td.wrong { --shade: var(--second); }
.meter { width: 34vw; max-width: 320px; min-width: 90px; vertical-align: middle; }
.meter i { display: block; height: 12px; border-radius: 2px; background: var(--first); }
ul.notes { padding-left: 20px; margin: 8px 0; }
pre { background: var(--panel); border-radius: 8px; padding: 12px; overflow-x: auto; font-size: .85rem; }
@media print { main { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""


def document(title: str, body: Iterable[str]) -> str:
    """Returns a complete HTML document.

    Args:
        title: title as text.
        body: elements of the body as HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def fragment(body: Iterable[str]) -> str:
    """Returns a part of another page, such as a notebook; the styles apply only inside.

    Args:
        body: elements as HTML.
    """
    styles = _STYLE.replace(":root {", "& {").replace("body {", "& {")
    return f'<div class="axon"><style>.axon {{ padding: 12px; {styles} }}</style>' + "\n".join(body) + "</div>"


def section(heading: str, *content: str) -> str:
    """Returns a section with a heading as text and content as HTML; empty without content."""
    inner = "\n".join(part for part in content if part)
    return f"<section>\n<h2>{escape(heading)}</h2>\n{inner}\n</section>" if inner else ""


def charts(svgs: Iterable[str]) -> str:
    """Returns charts side by side, as many as fit in a row; empty without charts."""
    inner = "".join(svgs)
    return f'<div class="charts">{inner}</div>' if inner else ""


def paragraph(text: str, *, faint: bool = False) -> str:
    """Returns a paragraph of text."""
    return f"{'<p class=faint>' if faint else '<p>'}{escape(text)}</p>"


def notes(sentences: Iterable[str]) -> str:
    """Returns a list of sentences; empty without sentences."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notes">{items}</ul>' if items else ""


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Returns a row of large figures; each has a name, a value and a line below."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(below)}</small></dd></div>"
        for name, value, below in figures
    )
    return f'<dl class="tiles">{shown}</dl>'


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str | None = None, numbers: Iterable[int] = ()
) -> str:
    """Returns a table of texts; the first column holds the row headings.

    Args:
        head: headings of the columns.
        rows: cells of the rows.
        caption: caption of the table; None if the heading above is enough.
        numbers: indices of the columns with numbers, which are aligned to the right.
    """
    right = set(numbers)

    def cells(row: Sequence[str], tags: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{_NUMBER if i in right else ''}>{escape(cell)}</{tag.split()[0]}>"
            for i, (cell, tag) in enumerate(zip(row, tags, strict=True))
        )

    columns = len(head)
    body = "".join(f"<tr>{cells(row, [_ROW, *['td'] * (columns - 1)])}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{cells(head, [_COLUMN] * columns)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
