"""Tables in the width of a terminal: columns without space are printed below their row, one under the other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.style import Style, StyleType
from rich.table import Column, Table
from rich.text import Text

from training.terminal import visible

_SHRUNK = 24  # smallest width of a column that is cut or wrapped; other columns keep their width
_GAP = 2
_INDENT = 4


def print_fitted(console: Console, table: Table) -> None:
    """Prints a table unchanged if the console is wide enough, else stacked.

    Args:
        console: console for the table.
        table: table with text in all cells. Columns with sentences may wrap; other columns keep their width.
    """
    for column in table.columns:
        if not _is_prose(column):
            column.no_wrap = True
    frame = 3 * len(table.columns) + 1  # blanks around each cell, and the lines of some boxes
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
    """Returns the lines of a table in a given width: the columns that fit, and the others below each row.

    Args:
        table: table with text in all cells; markup is interpreted.
        width: number of characters per line.
    """
    columns = [[_text(cell) for cell in column.cells] for column in table.columns]
    heads = [_text(column.header) for column in table.columns]
    widths = [
        max([cell_len(head.plain), *(cell_len(cell.plain) for cell in cells)], default=0)
        for head, cells in zip(heads, columns, strict=True)
    ]
    first = min(widths[0], width // 2)  # a longer name gets its own line
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
    """Returns lines with the cells that do not fit beside the others, each as `heading: cell`."""
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
    """Returns True if a column may be cut: with an ellipsis, which is rich's default, and with a greatest width."""
    return column.overflow == "ellipsis" and column.max_width is not None


def _is_prose(column: Column) -> bool:
    """Returns True if a column has sentences: a cell with four words or more."""
    if column.no_wrap or _is_cut(column):
        return False
    return any(len(_text(cell).plain.split()) >= 4 for cell in column.cells)


def _least_width(column: Column) -> int:
    """Returns the smallest readable width of a column, in characters."""
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
    return Text(visible(str(cell)))  # a text of the user is not markup
