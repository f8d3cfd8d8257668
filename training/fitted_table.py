"""Tables that fit their terminal: columns for which there is no room go below each other, under their row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.style import Style, StyleType
from rich.table import Column, Table
from rich.text import Text

from training.terminal import visible

_SHRUNK = 24  # characters of a cell that is cut or wrapped, at least; other columns are never squeezed
_GAP = 2
_INDENT = 4


def print_fitted(console: Console, table: Table) -> None:
    """Prints a table as it is where the console has the room, else stacked.

    Args:
        console: where to print it.
        table: text in all cells. A column whose cells are sentences may wrap; no other is squeezed.
    """
    for column in table.columns:
        if not _is_prose(column):
            column.no_wrap = True
    frame = 3 * len(table.columns) + 1  # blanks around each cell, and what some boxes draw between
    room = console.width - frame - sum(map(_least_width, table.columns))
    if room >= 0:
        for column in table.columns:
            if _is_cut(column):
                column.max_width = _least_width(column) + room
        console.print(table)
        return
    if table.title:
        console.print(_text(table.title), soft_wrap=True)
    for line in stacked(table, console.width):
        console.print(line, soft_wrap=True, highlight=False)


def stacked(table: Table, width: int) -> list[Text]:
    """Returns a table's lines in a given width: the columns for which there is room, and under each row the others.

    Args:
        table: text in all cells; markup in it is read.
        width: characters of a line.
    """
    columns = [[_text(cell) for cell in column.cells] for column in table.columns]
    heads = [_text(column.header) for column in table.columns]
    widths = [
        max([cell_len(head.plain), *(cell_len(cell.plain) for cell in cells)], default=0)
        for head, cells in zip(heads, columns, strict=True)
    ]
    first = min(widths[0], width // 2)  # a name that is longer stands on a line of its own
    lead, used = 1, first
    while lead < len(columns) and used + _GAP + widths[lead] <= width and not _may_shrink(table.columns[lead]):
        used += _GAP + widths[lead]
        lead += 1
    shown = [first, *widths[1:lead]]
    right = [column.justify == "right" for column in table.columns]
    lines = [_aligned(heads[:lead], shown, right, Style(bold=True)), Text("─" * min(used, width))]
    for i, row in enumerate(table.rows):
        style = row.style or ""
        lines.extend(_row([cells[i] for cells in columns[:lead]], shown, right, style))
        below = [(head, cells[i]) for head, cells in zip(heads[lead:], columns[lead:], strict=True) if cells[i].plain]
        lines.extend(_below(below, width, style))
    return lines


def _row(cells: Sequence[Text], widths: Sequence[int], right: Sequence[bool], style: StyleType) -> list[Text]:
    if cell_len(cells[0].plain) <= widths[0]:
        return [_aligned(cells, widths, right, style)]
    return [_styled(cells[0], style), _aligned([Text(), *cells[1:]], widths, right, style)]


def _aligned(cells: Sequence[Text], widths: Sequence[int], right: Sequence[bool], style: StyleType) -> Text:
    line = Text()
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        blanks = " " * (width - cell_len(cell.plain))
        line.append(" " * _GAP if i else "")
        line.append_text(Text(blanks) + cell if right[i] else cell + Text(blanks))
    line.rstrip()
    return _styled(line, style)


def _below(cells: Sequence[tuple[Text, Text]], width: int, style: StyleType) -> list[Text]:
    """The cells that found no room, `heading: cell` each, as many on a line as fit."""
    lines: list[Text] = []
    for head, cell in cells:
        piece = Text.assemble((f"{head.plain}: ", "dim"), cell) if head.plain else cell.copy()
        if lines and cell_len(lines[-1].plain) + _GAP + cell_len(piece.plain) <= width:
            lines[-1].append("  ").append_text(piece)
            continue
        room = max(width - _INDENT, 1)
        lines.extend(Text(" " * _INDENT) + part for part in piece.wrap(Console(width=room), room))
    return [_styled(line, style) for line in lines]


def _may_shrink(column: Column) -> bool:
    return _is_cut(column) or _is_prose(column)


def _is_cut(column: Column) -> bool:
    """Whether a column asks for its cells to be cut: rich's default is an ellipsis too, but without a width."""
    return column.overflow == "ellipsis" and column.max_width is not None


def _is_prose(column: Column) -> bool:
    """Whether a column holds sentences: one of its cells has four words or more."""
    if column.no_wrap or _is_cut(column):
        return False
    return any(len(_text(cell).plain.split()) >= 4 for cell in column.cells)


def _least_width(column: Column) -> int:
    """The characters that a column takes at least, so that it can be read."""
    texts = [_text(column.header), *(_text(cell) for cell in column.cells)]
    natural = max(cell_len(text.plain) for text in texts)
    return min(natural, _SHRUNK) if _may_shrink(column) else natural


def _styled(line: Text, style: StyleType) -> Text:
    line = line.copy()
    line.stylize(style)
    return line


def _text(cell: RenderableType) -> Text:
    if isinstance(cell, Text):
        return cell.copy()
    return Text(visible(str(cell)))  # what users wrote is no markup
