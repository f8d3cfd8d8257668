"""Decides which mark of a column's numbers is the decimal mark, from the evidence in its texts.

`4,06` shows a decimal comma, and so does `1.234.567`, because its dots can only divide thousands. `8.180` shows
nothing: it is 8.18 or 8180. A column's own evidence decides first, then the evidence of the file's other columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.missing_texts import stands_for_missing
from training.data.number_texts import Marks, bodies_in, plain_numbers_in

# Numbers count as evidence if at least this share of the distinct texts are numbers: addresses have dots too.
_LEAST_SHARE = 0.9
_SAMPLE = 200
MAX_WORDS = 1_000  # distinct texts that are not numbers; if there are more, none of them is examined

_OPEN = r"^[1-9]\d{{0,2}}{mark}\d{{3}}$"
_ONE_MARK = r"^(?:\d+{mark}\d*|{mark}\d+)$"
_DIVIDED = r"^[1-9]\d{{0,2}}(?:{mark}\d{{3}}){{2,}}$"
_DIVIDED_AND_DECIMAL = r"^[1-9]\d{{0,2}}(?:{other}\d{{3}})+{mark}\d*$"
_LAKH = r"^[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d*)?$"


@dataclass(frozen=True, kw_only=True)
class MarkEvidence:
    """Examples of texts that are evidence of a column's marks; None for a kind of evidence that no text gives.

    Attributes:
        dot: text in which the dot must be the decimal mark, or the comma must divide thousands.
        comma: text in which the comma must be the decimal mark, or the dot must divide thousands.
        open_dot: text with one dot and three digits after it, which can be read in both ways.
        open_comma: text with one comma and three digits after it, which can be read in both ways.
        short_whole: whole number of one to three digits, without a mark.
        long_whole: whole number of four digits or more, without a mark between its thousands.
    """

    dot: str | None = None
    comma: str | None = None
    open_dot: str | None = None
    open_comma: str | None = None
    short_whole: str | None = None
    long_whole: str | None = None

    def __or__(self, other: MarkEvidence) -> MarkEvidence:
        """Returns the evidence of both together."""
        return MarkEvidence(**{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(self)})

    @property
    def is_open(self) -> bool:
        """True if there are texts with two readings, and no text decides between the readings."""
        return bool((self.open_dot or self.open_comma) and not (self.dot or self.comma))


NO_EVIDENCE = MarkEvidence()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The marks of a column, and the reason.

    Attributes:
        marks: decimal and thousands marks; None if the column's texts have two readings.
        because: reason, as the end of a sentence; empty if the column itself decides.
        conflict: two texts of the column, one with a decimal dot and one with a decimal comma.
        is_shown: True if a text with one reading or the user decides; False for the likely marks.
    """

    marks: Marks | None
    because: str = ""
    conflict: tuple[str, str] | None = None
    is_shown: bool = True


def evidence_of(texts: pa.Array) -> MarkEvidence:
    """Returns the evidence in a column's distinct texts (null for missing); `NO_EVIDENCE` if most are not numbers."""
    texts = texts.drop_null()
    if _share_of_numbers(texts[:_SAMPLE]) < _LEAST_SHARE / 2:
        return NO_EVIDENCE
    if plain_numbers_in(texts, ".")[1].all():
        return plain_evidence_of(texts, mark=".")
    bodies, exponents = bodies_in(texts)
    shown = _classified(bodies, exponents)
    is_number = np.logical_or.reduce(list(shown.values()))
    rest = texts.filter(pa.array(~is_number)).to_pylist()
    words = len(rest) if len(rest) > MAX_WORDS else sum(not stands_for_missing(text) for text in rest)
    if words > (1 - _LEAST_SHARE) * (is_number.sum() + words):
        return NO_EVIDENCE
    first = {name: texts[int(rows.argmax())].as_py() for name, rows in shown.items() if rows.any()}
    return MarkEvidence(**first)


def plain_evidence_of(texts: pa.Array, *, mark: str) -> MarkEvidence:
    """Returns the evidence in texts that are known to be numbers with at most one mark, `.` or `,`."""
    has_mark = pc.match_substring(texts, mark)
    marked = texts.filter(has_mark).drop_null()
    certain, is_open = ("dot", "open_dot") if mark == "." else ("comma", "open_comma")
    shown: dict[str, str] = {}
    for piece in (marked[:_SAMPLE], marked[_SAMPLE:]):  # the first texts usually suffice
        bare = pc.replace_substring_regex(piece, "^[+-]", "")
        is_two = pc.match_substring_regex(bare, _OPEN.format(mark=_escaped(mark)))
        for name, rows in ((certain, pc.invert(is_two)), (is_open, is_two)):
            if name not in shown and pc.any(rows).as_py():
                shown[name] = piece[pc.index(rows, True).as_py()].as_py()
        if certain in shown:
            break
    rest = texts.filter(pc.invert(has_mark)).drop_null()
    for name, pattern in (("short_whole", r"^[+-]?\d{1,3}$"), ("long_whole", r"^[+-]?\d{4,}$")):
        rows = pc.match_substring_regex(rest, pattern)
        if pc.any(rows).as_py():
            shown[name] = rest[pc.index(rows, True).as_py()].as_py()
    return MarkEvidence(**shown)


def decide(own: MarkEvidence, others: Iterable[tuple[str, MarkEvidence]], *, delimiter: str | None) -> Decision:
    """Decides the marks of a column.

    Args:
        own: evidence of the column.
        others: name and evidence of each other column of the file.
        delimiter: delimiter of the file's cells; None for a table that is not a CSV file.
    """
    if own.dot and own.comma:
        return Decision(marks=None, conflict=(own.dot, own.comma))
    if own.dot or own.comma:
        return Decision(marks=_marks("." if own.dot else ","))
    dot = comma = None
    for name, shown in others:
        dot = dot or (shown.dot and (name, shown.dot))
        comma = comma or (shown.comma and (name, shown.comma))
    if bool(dot) != bool(comma):
        name, text = dot or comma or ("", "")
        return Decision(marks=_marks("." if dot else ","), because=f"as {text!r} in column {name!r} shows")
    if not own.is_open:
        return Decision(marks=_marks("."), is_shown=False)
    mark = "." if own.open_dot else ","
    if not (own.open_dot and own.open_comma) and not dot:
        if own.long_whole:
            because = f"since {own.long_whole!r} has no mark between its thousands"
            return Decision(marks=_marks(mark), because=because, is_shown=False)
        # Countries that divide thousands by dots use the semicolon as the delimiter.
        if mark == "." and delimiter not in (None, ";") and not own.short_whole:
            return Decision(marks=_marks("."), because="since nothing in the file says otherwise", is_shown=False)
    return Decision(marks=None)


def decide_as_earlier(own: MarkEvidence, decided: Decision, earlier: Marks, *, source: str) -> Decision:
    """Decides the marks of a column whose own cells do not, by those of an earlier table of the same columns.

    Args:
        own: evidence of the column.
        decided: decision by the column's own table.
        earlier: marks of the column in the earlier table.
        source: name of the earlier table.
    """
    is_denied = decided.is_shown and decided.marks is not None and decided.marks.decimal != earlier.decimal
    if own.is_open and is_denied:
        return Decision(marks=None, because=f"the file says one, {decided.because}, and {source} the other")
    return Decision(marks=earlier, because=f"as in {source}")


def given_marks(decimal: str | None, thousands: str | None) -> Marks | None:
    """Returns the marks that a user gives; None if none are given.

    Args:
        decimal: `.`, `,` or None.
        thousands: `.`, `,`, `'`, `space`, `none` or None.
    """
    if decimal is None and thousands in (None, "none", "space", "'"):
        return None
    if decimal is None:
        return _marks("," if thousands == "." else ".")
    if thousands is None:
        return _marks(decimal)
    is_point = thousands in (".", ",")
    return Marks(decimal=decimal, thousands=thousands if is_point else "", neutral=thousands != "none")


def _marks(decimal: str) -> Marks:
    return Marks(decimal=decimal, thousands="," if decimal == "." else ".")


def _share_of_numbers(texts: pa.Array) -> float:
    return 1 - bodies_in(texts)[0].null_count / len(texts) if len(texts) else 0.0


def _classified(bodies: pa.Array, exponents: pa.Array) -> dict[str, NDArray[np.bool_]]:
    """Returns, by field of `MarkEvidence`, `(texts,)` True for a text that gives this evidence."""

    def is_like(pattern: str, **marks: str) -> NDArray[np.bool_]:
        pattern = pattern.format(**{name: _escaped(mark) for name, mark in marks.items()}) if marks else pattern
        matches = pc.fill_null(pc.match_substring_regex(bodies, pattern), False)
        rows: NDArray[np.bool_] = matches.to_numpy(zero_copy_only=False).astype(np.bool_)
        return rows

    has_exponent = pc.fill_null(pc.not_equal(exponents, ""), False).to_numpy(zero_copy_only=False)
    shown: dict[str, NDArray[np.bool_]] = {}
    for name, mark, other in (("dot", ".", ","), ("comma", ",", ".")):
        one, two = is_like(_ONE_MARK, mark=mark), is_like(_OPEN, mark=mark) & ~has_exponent
        certain = (one & ~two) | is_like(_DIVIDED_AND_DECIMAL, mark=mark, other=other) | is_like(_DIVIDED, mark=other)
        shown |= {name: certain, f"open_{name}": two}
    shown["dot"] |= is_like(_LAKH)
    return shown | {"short_whole": is_like(r"^\d{1,3}$"), "long_whole": is_like(r"^\d{4,}$")}


def _escaped(mark: str) -> str:
    return rf"\{mark}" if mark == "." else mark
