"""Reads a column of texts as numbers and gaps, or refuses a cell, or remarks that the column looks like numbers."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.errors import DataError
from training.data.mark_evidence import Decision, MarkEvidence
from training.data.missing_texts import MAX_MISSING_TEXTS, are_gaps, stands_for_missing
from training.data.notation import Precedent, differ, other_unit
from training.data.number_texts import (
    PLAIN,
    Adornments,
    Marks,
    adornments_of,
    are_codes_of_one_width,
    code_as_number,
    code_in,
    numbers_in,
    plain_numbers_in,
)
from training.data.typed_options import typed

# A column of texts with at least this share of numbers is numeric, and its few words are errors; the same for dates.
SHARE_OF_A_KIND = 0.9

_SOME = 0.1  # least share of numbers in a categorical column that is worth a remark
_MAX_SUGGESTED = 10  # most words in an option that a message suggests
_SHOWN = 60  # characters of a cell in a message
_UNIT = r"^[+-]?\d+(?:[.,]\d+)?\s?(?P<unit>[\p{L}°µ²³/]{1,6})$"
_MARKS = {".": "dot", ",": "comma"}


@dataclass(kw_only=True)
class TextNumbers:
    """A column's distinct texts, to be read as numbers.

    Attributes:
        called: name of the column in messages.
        name: name of the column.
        texts: `(texts,)` distinct texts, none of them null.
        counts: `(texts,)` number of cells of each text.
        where: function from a text's index to the place of its first cell in words.
        evidence: evidence of the marks in the texts.
        decision: decimal and thousands marks, and the reason for these.
        delimiter: delimiter of the file's cells; None for a table that is not a CSV file.
        is_target: True for the target.
        is_feature: True for a column to learn from, which holds names if its cells are codes such as `01067`.
        precedent: notation of an earlier table of the same columns, whose unit these texts must have; or None.
        unit: unit of the numbers, set by `read`; empty for none, None if not known.
        remarks: list to which remarks are appended, as rests of sentences that begin with the column's name.
        are_codes: True, set by `read`, if the column is not numeric because all texts are codes of one width.
    """

    called: str
    name: str
    texts: pa.Array
    counts: NDArray[np.int64]
    where: Callable[[int], str]
    evidence: MarkEvidence
    decision: Decision
    delimiter: str | None
    is_target: bool = False
    is_feature: bool = True
    precedent: Precedent | None = None
    unit: str | None = None
    remarks: list[str] = field(default_factory=list)
    are_codes: bool = field(default=False, init=False)

    def read(self, *, forced: bool, allow_gaps: bool, remedy: str) -> NDArray[np.float64] | None:
        """Returns `(texts,)` values, NaN for a text that stands for missing; None if the column is not numeric.

        Args:
            forced: True if the column must hold numbers.
            allow_gaps: True if texts may stand for missing.
            remedy: advice in the message if a few texts are words.

        Raises:
            DataError: texts have two readings, or several units, or are a few words among numbers.
        """
        if self.decision.marks is None:
            raise self._ambiguous(remedy)
        values, is_number = numbers_in(self.texts, self.decision.marks)
        words = np.flatnonzero(~is_number)
        numbers, present = int(self.counts[is_number].sum()), int(self.counts.sum())
        gaps = is_number.any() and allow_gaps and are_gaps(self.texts.take(pa.array(words)).to_pylist(), forced=forced)
        if not (forced or gaps or (len(self.texts) and numbers >= SHARE_OF_A_KIND * present)):
            self.remark_on_names()
            return None
        if len(words) and not gaps:
            raise self._not_a_number(int(words[0]), numbers, present, remedy)
        if not forced and self._are_all_bracketed(is_number):
            return None
        if self.is_feature and not forced and (code := self.code()) is not None:
            self.are_codes = are_codes_of_one_width(self.texts)
            self._remark_on_codes(code)
            if self.are_codes:
                return None
        self._remark_on_reading(values, is_number, remedy)
        if len(words):
            listed = ", ".join(repr(self._text(i)) for i in words[: MAX_MISSING_TEXTS + 1])
            count = int(self.counts[words].sum())
            remark = f"is read as numbers, and {listed} in {count} cell{'s' if count > 1 else ''} as missing"
            option = typed("--categorical", self.name)
            # Nobody wants names where the kind of the column is given.
            advice = "" if forced else f": if it is a name, read the column as names ({option})"
            self.remarks.append(f"{remark}{advice}.")
        return np.where(is_number, values, np.nan)

    def example_of_numbers(self) -> str | None:
        """Returns a text if all texts look like numbers or gaps; None if not, or if some are codes (`007`)."""
        is_number = numbers_in(self.texts, self.decision.marks or PLAIN)[1]
        numbers, rest = (self.texts.filter(pa.array(rows)) for rows in (is_number, ~is_number))
        if not len(numbers) or not all(stands_for_missing(text) for text in rest.to_pylist()):
            return None
        if code_in(numbers) is not None:
            return None
        return str(numbers[0].as_py())

    def code(self) -> str | None:
        """Returns a text that is a code such as `007` rather than a number; None if there is none."""
        return code_in(self.texts)

    def _remark_on_codes(self, code: str) -> None:
        if self.are_codes:
            option = typed("--numeric", self.name)
            self.remarks.append(
                f"holds codes of one width, such as {code[:_SHOWN]!r}, and is read as names: {option} reads them as "
                "numbers."
            )
        else:
            option = typed("--categorical", self.name)
            self.remarks.append(f"{code_as_number(code)}: {option} reads them as names.")

    def _are_all_bracketed(self, is_number: NDArray[np.bool_]) -> bool:
        """Returns True, and adds a remark, if all numbers are in brackets, which then do not mean a minus sign."""
        numbers = self.texts.filter(pa.array(is_number))
        if len(numbers) < 2 or not pc.all(pc.match_substring(numbers, "(")).as_py():
            return False
        self.remarks.append(
            f"looks like numbers in brackets, such as {numbers[0].as_py()!r}, but is read as names, since brackets "
            "around all of them are no minus sign: write them without."
        )
        return True

    def _remark_on_reading(self, values: NDArray[np.float64], is_number: NDArray[np.bool_], remedy: str) -> None:
        """Adds remarks on numbers that are written with more than plain digits."""
        marks = self.decision.marks or PLAIN
        adorned = is_number & ~plain_numbers_in(self.texts, marks.decimal)[1]
        places = np.flatnonzero(adorned)
        plain = np.flatnonzero(is_number & ~adorned & (values != 0))
        if not len(places):
            self._check_units({"": int(plain[0])} if len(plain) else {}, remedy)
            self._remark_on_marks(marks)
            return
        around = adornments_of(self.texts.filter(pa.array(adorned)), values[adorned])
        units = {unit: int(places[i]) for unit, i in around.units.items()}
        if len(plain):
            units.setdefault("", int(plain[0]))
        self._check_units(units, remedy)
        if not self._remark_on_adornments(places, values, around, marks):
            self._remark_on_marks(marks)

    def _remark_on_marks(self, marks: Marks) -> None:
        """Adds a remark on texts with two readings, of which something else than the texts has decided for one."""
        is_found_out = self.evidence.is_open and self.decision.because
        text = self.evidence.open_dot or self.evidence.open_comma if is_found_out else None
        if marks.decimal == "," == self.delimiter:  # lists of numbers are more likely here than decimal commas
            text = text or self.evidence.comma
        if text is not None:
            self.remarks.append(reading_remark(text, marks, self.decision.because))

    def _check_units(self, units: dict[str, int], remedy: str) -> None:
        named = [unit for unit in units if unit]
        is_percent_and_none = "" in units and any(unit in "%‰٪％" for unit in named)
        if len(named) > 1 or is_percent_and_none:
            first, second = list(units.items())[:2]
            raise DataError(
                f"{self.called} mixes units: {self._text(first[1])!r} at {self.where(first[1])} and "
                f"{self._text(second[1])!r} at {self.where(second[1])}: write all cells in one unit, or {remedy}."
            )
        self.unit = next(iter((*named, *units)), None)
        if self.precedent is None or self.unit is None:
            return
        earlier, place = self.precedent.of(self.name).unit, units[self.unit]
        if earlier is not None and differ(self.unit, earlier):
            source = self.precedent.source
            raise other_unit(self.called, self.unit, self._text(place), self.where(place), earlier, source)

    def _remark_on_adornments(
        self, places: NDArray[np.int64], values: NDArray[np.float64], around: Adornments, marks: Marks
    ) -> bool:
        """Adds a remark on what stands around numbers; returns True if the remark gives the reason for the marks."""
        shown = int(places[0])
        reasons = []
        gives_marks = False
        if marks.thousands and pc.any(pc.match_substring(self.texts.take(pa.array(places)), marks.thousands)).as_py():
            because = f", {self.decision.because}" if self.decision.because else ""
            reasons.append(f"the {_MARKS[marks.thousands]} divides thousands{because}")
            gives_marks = True
            found = pc.index(pc.match_substring(self.texts.take(pa.array(places)), marks.thousands), True).as_py()
            shown = int(places[found])
        if around.bracketed is not None:
            reasons.append("brackets are a minus sign")
        named = [unit for unit in around.units if unit]
        if named and not reasons and self.precedent is not None and self.precedent.of(self.name).unit in named:
            return False  # the note on the earlier table says so
        reasons += [f"the sign {unit!r} is left out" for unit in named]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        self.remarks.append(f"is read as numbers: {self._text(shown)!r} is {values[shown]:.15g}{why}.")
        return gives_marks

    def remark_on_names(self) -> None:
        """Adds a remark on texts that are read as categories although some, or all but for a unit, are numbers."""
        is_number = numbers_in(self.texts, self.decision.marks or PLAIN)[1]
        numbers, present = int(self.counts[is_number].sum()), int(self.counts.sum())
        words = self.texts.filter(pa.array(~is_number))
        if len(words) and is_number.sum() > 1 and (numbers >= _SOME * present or is_number.sum() > len(words)):
            listed = ", ".join(repr(text[:_SHOWN]) for text in words[:3].to_pylist())
            self.remarks.append(
                f"holds numbers in {numbers} of {present} cells and is read as names, because of {listed}"
                f"{', …' if len(words) > 3 else ''}{self._advice(words)}."
            )
            return
        if other := self.evidence.dot or self.evidence.comma:
            self.remarks.append(
                f"looks like numbers, such as {other!r}, but is read as names, since that is none with the marks given."
            )
            return
        units = set(pc.extract_regex(words[:1000], _UNIT).field("unit").to_pylist()) if len(words) > 1 else set()
        if len(units) == 1 and units != {""} and None not in units:
            self.remarks.append(
                f"looks like numbers with a unit, such as {words[0].as_py()!r}, but is read as names: write them "
                "without the unit."
            )

    def _advice(self, words: pa.Array) -> str:
        """Returns the advice on how to declare words among numbers missing."""
        if len(words) > _MAX_SUGGESTED:
            return ""
        named = [text for text in words.to_pylist() if self.is_target or not stands_for_missing(text)]
        missing = " ".join(shlex.quote(f"{self.name}={text}") for text in named)
        options = f" --missing-values {missing}" if named else ""
        if self.is_target:
            return f": if these stand for missing, say so (--task regression{options} --drop-missing-target)"
        return f": if these stand for missing, say so ({typed('--numeric', self.name)}{options})"

    def _ambiguous(self, remedy: str) -> DataError:
        if self.decision.conflict:
            dot, comma = (self._place(text) for text in self.decision.conflict)
            return DataError(
                f"{self.called} has both marks before decimals: {self._text(dot)!r} at {self.where(dot)} says that the "
                f"dot is the decimal mark, {self._text(comma)!r} at {self.where(comma)} that the comma is: write them "
                f"alike, or {remedy}."
            )
        because = self.decision.because or "nothing in the file tells which"
        text = self.evidence.open_dot or self.evidence.open_comma or ""
        mark, place = "." if self.evidence.open_dot else ",", self._place(text)
        small, large = (numbers_in(pa.array([text]), marks)[0][0] for marks in _both(mark))
        return DataError(
            f"{self.called}: {text!r} at {self.where(place)} has two readings, {small:.15g} where the {_MARKS[mark]} "
            f"is the decimal mark (--decimal {mark}) and {large:.15g} where it divides thousands (--thousands {mark}), "
            f"and {because}: say it, or {remedy}."
        )

    def _not_a_number(self, place: int, numbers: int, present: int, remedy: str) -> DataError:
        text = self._text(place)
        value = shlex.quote(f"{self.name}={text}")
        return DataError(
            f"{self.called}: {text[:_SHOWN]!r} at {self.where(place)} is not a number, while {numbers} of {present} "
            f"cells are; correct it, read it as missing (--missing-values {value[: 3 * _SHOWN]}), or {remedy}."
        )

    def _text(self, place: Any) -> str:
        return str(self.texts[int(place)].as_py())

    def _place(self, text: str) -> int:
        place: int = pc.index(self.texts, text).as_py()
        return max(place, 0)


def reading_remark(text: str, marks: Marks, because: str) -> str:
    """Returns a remark on how an ambiguous text is read, as words that follow the column's name in a sentence."""
    value = numbers_in(pa.array([text]), marks)[0][0]
    mark = "." if "." in text else ","
    is_decimal = marks.decimal == mark
    role = "is the decimal mark" if is_decimal else "divides thousands"
    why = f", {because}" if because else ""
    return (
        f"is read as numbers: {text!r} is {value:.15g}, where the {_MARKS[mark]} {role}{why}; "
        f"{'--thousands' if is_decimal else '--decimal'} {mark} reads it the other way."
    )


def _both(mark: str) -> tuple[Marks, Marks]:
    """Returns the marks for both readings of a mark: as the decimal mark, and as the thousands mark."""
    other = "," if mark == "." else "."
    return Marks(decimal=mark, thousands=other), Marks(decimal=other, thousands=mark)
