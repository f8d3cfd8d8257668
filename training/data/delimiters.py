"""Detects the delimiter of a text table from its first lines: the one that gives each line the same number of cells."""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from models.errors import DataError
from training.data.text_file import BLANK, TAB, TextFile
from training.data.typed_options import typed

DELIMITERS = (",", ";", "\t", "|")

_LINES, _CHARACTERS = 200, 1 << 20  # most lines and characters of a sample, which has at least the first two lines
_MOST_CELL = 2**31 - 1  # characters; csv's own limit of 131,072 would hide errors after a long cell
_EXCEL_HINT = re.compile(r'"?sep=([,;|\t])"?[,;|\t]*[\r\n]*')  # a first line that tells Excel the delimiter
_RARE = (":", "~", "^", "!", "&", "\x01", "\x1f")  # delimiters of a few programs; \x01 is Hive's
_COMMENTS = ("#", "%", "//", "--")  # marks with which lines of comments begin


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """The first lines of a file.

    Attributes:
        numbers: number of each line in the file.
        lines: lines with text.
        is_cut: True if the file has more lines.
    """

    numbers: tuple[int, ...]
    lines: tuple[str, ...]
    is_cut: bool

    def widths(self, delimiter: str) -> list[int]:
        """Returns the number of cells of each record, without a last record that the sample may cut."""
        with long_cells():
            reader = csv.reader(self.lines, delimiter=delimiter, skipinitialspace=True)
            found = [len(record) for record in reader if record]
        return found[:-1] if self.is_cut and len(found) > 2 else found

    def is_padded(self, delimiter: str) -> bool:
        """Returns True if there are blanks between a delimiter and a quote."""
        return any(re.search(rf'(?:^|{re.escape(delimiter)}) +"', line) for line in self.lines)

    def count_in_header(self, delimiter: str) -> int:
        """Returns the number of times that the first line has a delimiter outside quotes."""
        return "".join(self.lines[0].split('"')[::2]).count(delimiter)  # every other piece is inside quotes


def detect_delimiter(file: TextFile) -> tuple[TextFile, str]:
    """Finds the delimiter of a file, unless the user gives one.

    The delimiter is the one that divides each of the first lines into the same number of cells, more than one. If the
    first line has no known delimiter, runs of blanks are tried. If nothing fits, the best guess is returned, and the
    reader then names the line at fault.

    Returns:
        The file as it has to be read, and the delimiter of its lines.

    Raises:
        DataError: two delimiters divide all lines equally well, or the header seems to be further below.
    """
    given = file.format.delimiter
    if given == BLANK:
        return _with_blanks(file) or file.with_blanks_divided(), TAB
    sample = _sample_of(file)
    if given is not None:
        return _unpadded(file, sample, given)
    if hint := _EXCEL_HINT.fullmatch(sample.lines[0]):
        return file.without_lines(sample.numbers[0]), hint[1]
    widths = {delimiter: sample.widths(delimiter) for delimiter in DELIMITERS}
    alike = [delimiter for delimiter, found in widths.items() if found[0] > 1 and len(set(found)) == 1]
    if len(alike) == 1:
        return _unpadded(file, sample, alike[0])
    if alike:
        shown = " or ".join(f"by {_shown(one)} into {widths[one][0]} cells" for one in alike)
        options = " or ".join(_option(one) for one in alike)
        raise DataError(f"{file.path.name}: all lines can be divided {shown}: say which it is ({options}).")
    # A tab may be one of the blanks, so it does not count here.
    if not any(map(sample.count_in_header, set(DELIMITERS) - {TAB})) and (with_blanks := _with_blanks(file)):
        return with_blanks, TAB
    if not any(_most_common(found)[1] for found in widths.values()):
        widths[BLANK] = _sample_of(file.with_blanks_divided()).widths(TAB)
    _check_first_line(file, sample, widths)
    _check_rare_delimiters(file, sample)
    return _unpadded(
        file, sample, max(DELIMITERS, key=lambda one: (_count_agreeing(widths[one]), sample.count_in_header(one)))
    )


@contextmanager
def long_cells() -> Iterator[None]:
    """Lets the csv module read cells of any length."""
    limit = csv.field_size_limit(_MOST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def comment_hint(line: str) -> str:
    """Returns the end of a sentence with advice on a line that looks like a comment; empty for other lines."""
    mark = next((mark for mark in _COMMENTS if line.lstrip().startswith(mark)), None)
    return "" if mark is None else f"; if it is a comment, say so ({typed('--comment', mark)})"


def _with_blanks(file: TextFile) -> TextFile | None:
    """Returns the file divided by blanks; None if blanks do not divide all lines into the same number of cells."""
    by_blanks = file.with_blanks_divided()
    sample = _sample_of(by_blanks)
    widths = sample.widths(TAB)
    others = set(widths[1:])
    if widths[0] > 1 and others == {widths[0] + 1} and not sample.lines[0].startswith(_COMMENTS):
        return file.with_blanks_divided(lacks_name=True)  # R gives the column of row names no name
    return by_blanks if widths[0] > 1 and others <= {widths[0]} else None


def _unpadded(file: TextFile, sample: _Sample, delimiter: str) -> tuple[TextFile, str]:
    return (file.with_blanks_before_quotes_cut(delimiter) if sample.is_padded(delimiter) else file), delimiter


def _check_rare_delimiters(file: TextFile, sample: _Sample) -> None:
    """Refuses a file of one column if a rarely used delimiter divides all lines into the same number of cells.

    Raises:
        DataError: such a delimiter is found; the message names the character and the option.
    """
    if len(sample.lines) < 2 or any(map(sample.count_in_header, DELIMITERS)):
        return
    for rare in _RARE:
        widths = set(sample.widths(rare))
        if len(widths) == 1 and min(widths) > 1:
            raise DataError(
                f"{file.path.name}: {rare!r} divides all lines into {min(widths)} cells: if it is the delimiter, say "
                f"so ({_option(rare)})."
            )


def _check_first_line(file: TextFile, sample: _Sample, widths: dict[str, list[int]]) -> None:
    """Refuses a file whose first lines differ in width from the lines that follow.

    Raises:
        DataError: the header seems to be further below; the message names the line and the option to skip lines.
    """
    for delimiter in sorted(widths, key=lambda one: -_most_common(widths[one])[1]):
        found, (usual, _) = widths[delimiter], _most_common(widths[delimiter])
        begins = next((i for i in range(len(found)) if set(found[i:]) == {usual}), len(found))
        # A line end in quotes makes more lines than records: then the line number of the header is not known.
        if usual < 2 or not 0 < begins < len(found) - 1 or len(found) < len(sample.lines) - 1:
            continue
        first, line = sample.lines[0].strip()[:60], sample.numbers[begins]
        mark = next((mark for mark in _COMMENTS if first.startswith(mark)), None)
        if mark is None and found[0] > 1 and delimiter != BLANK:
            continue
        if mark is not None and not any(text.lstrip().startswith(mark) for text in sample.lines[begins:]):
            remedy = f"If such lines are comments, say so ({typed('--comment', mark)})"
        else:
            remedy = f"If the table begins there, say so (--skip-lines {line - 1})"
        cells = "1 cell" if found[0] == 1 else f"{found[0]} cells"
        raise DataError(
            f"{file.path.name}: its first line {first!r} has {cells}, but from line {line} on each has {usual}, "
            f"divided by {_shown(delimiter)}. {remedy}."
        )


def _sample_of(file: TextFile) -> _Sample:
    numbers: list[int] = []
    lines: list[str] = []
    length = 0
    is_cut = False
    for number, line in file.lines():
        if not line.strip():
            continue
        if is_cut := len(lines) == _LINES or (length > _CHARACTERS and len(lines) > 1):
            break
        numbers.append(number)
        lines.append(line)
        length += len(line)
    if not lines:
        raise DataError(f"{file.path.name} has no line with text behind those that are passed over.")
    return _Sample(numbers=tuple(numbers), lines=tuple(lines), is_cut=is_cut)


def _most_common(widths: Sequence[int]) -> tuple[int, int]:
    """Returns the most common width above 1, and the number of records with this width."""
    return max(Counter(width for width in widths if width > 1).items(), key=lambda pair: pair[1], default=(0, 0))


def _count_agreeing(widths: Sequence[int]) -> int:
    """Returns the number of records that are as wide as the first; 0 if the first has one cell."""
    return widths.count(widths[0]) if widths[0] > 1 else 0


def _shown(delimiter: str) -> str:
    return {TAB: "tab", BLANK: "blanks"}.get(delimiter, repr(delimiter))


def _option(delimiter: str) -> str:
    """Returns the command-line option that sets a delimiter, quoted for a shell."""
    if delimiter == TAB:
        return "--delimiter tab"
    return f"--delimiter {shlex.quote(delimiter) if delimiter.isprintable() else f'${delimiter!r}'}"
