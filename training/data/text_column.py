"""A column of texts that is read block by block and stored in little memory.

Texts are dictionary-encoded. If most cells of a block differ and all are numbers, or all are dates, their values are
stored in eight bytes a cell, and the texts are dropped. If a later block then holds other texts, the column has to be
read again with its texts kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.cells import bare_texts, dates_in, dictionary_encoded
from training.data.mark_evidence import NO_EVIDENCE, MarkEvidence, plain_evidence_of
from training.data.number_texts import code_in, plain_numbers_in
from training.data.scratch import Scratch

_FEW = 1_000  # distinct texts of a block that are always worth keeping

_Reader = Callable[[pa.Array], tuple[NDArray[Any], NDArray[np.bool_]]]


def _numbers_without_codes(texts: pa.Array, mark: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Reads numbers of one decimal mark, and none if some are codes with leading zeros, which keep their texts."""
    values, is_number = plain_numbers_in(texts, mark)
    return values, is_number if code_in(texts) is None else np.zeros_like(is_number)


# Functions that read cells, each with the decimal mark of its numbers; None for dates.
_READERS: tuple[tuple[_Reader, str | None], ...] = (
    (lambda texts: _numbers_without_codes(texts, "."), "."),
    (lambda texts: _numbers_without_codes(texts, ","), ","),
    (dates_in, None),
)


class TextColumn:
    """The cells of one column so far.

    Args:
        keep_texts: True to keep the texts in any case.
        as_written: True to keep the texts unchanged; an empty text is missing.
        scratch: scratch space of the cells of a large table; None to keep them in memory.

    Attributes:
        evidence: evidence of the marks in numbers whose texts were dropped; None if texts are kept.
    """

    def __init__(self, *, keep_texts: bool = False, as_written: bool = False, scratch: Scratch | None = None) -> None:
        self._scratch = scratch
        self.evidence: MarkEvidence | None = None
        self._mark: str | None = None  # decimal mark of the numbers, once the texts are dropped
        self._keep_texts = keep_texts or as_written
        self._as_written = as_written
        self._read: _Reader | None = None  # function that reads cells, once the texts are dropped
        self._texts: list[tuple[NDArray[np.int32], pa.Array]] = []  # by block: (rows,) codes, and distinct texts
        self._values: list[NDArray[Any]] = []  # by block: (rows,) float64 or datetime64[us]
        self._must_be_read_again = False

    def add(self, block: pa.Array) -> None:
        """Adds the next cells, unchanged from the file."""
        if self._must_be_read_again or len(block) == 0:
            return
        if self._read is not None:
            texts = bare_texts(block)
            values, is_read = self._read(texts)
            self._values.append(values if self._scratch is None else self._scratch.copy(values))
            self._take_evidence(texts)
            if is_read.sum() + texts.null_count < len(texts):
                self._values, self._must_be_read_again, self.evidence = [], True, None
            return
        codes, texts = dictionary_encoded(block)
        if self._as_written:
            texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
        self._texts.append((codes, texts if self._as_written else bare_texts(texts)))
        if not self._keep_texts and len(texts) > max(_FEW, len(block) // 4):
            self._drop_texts()

    def finish(self) -> pa.Array | None:
        """Returns all cells: texts as a dictionary array, float64 with NaN for missing, or timestamps.

        Returns None if the column must be read again with its texts kept.
        """
        if self._must_be_read_again:
            return None
        cells = self._joined()
        return cells if self._scratch is None else self._scratch.copy_cells(cells)

    def _joined(self) -> pa.Array:
        if self._read is not None:
            values, self._values = np.concatenate(self._values), []
            return pa.array(values)
        if not self._texts:
            return pa.array([], pa.string()).dictionary_encode()
        # One dictionary for all blocks, and the index of each block's texts there.
        together = pa.chunked_array([texts for _, texts in self._texts]).dictionary_encode()
        places = [pc.fill_null(chunk.indices, -1).to_numpy() for chunk in together.chunks]
        codes = [np.append(place, -1)[local] for place, (local, _) in zip(places, self._texts, strict=True)]
        self._texts = []
        whole = np.concatenate(codes).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(whole, mask=whole < 0), together.chunk(0).dictionary)

    def _drop_texts(self) -> None:
        for read, mark in _READERS:
            of_blocks = []
            for codes, texts in self._texts:
                values, is_read = read(texts)
                if is_read.sum() + texts.null_count < len(texts):
                    break
                gap = np.full(1, "NaT" if values.dtype.kind == "M" else np.nan, dtype=values.dtype)
                of_blocks.append(np.concatenate((values, gap))[codes])  # code -1 takes the last element, the gap
            else:
                self._read, self._mark = read, mark
                for _, texts in self._texts:
                    self._take_evidence(texts)
                self._values, self._texts = of_blocks, []
                return
        self._keep_texts = True

    def _take_evidence(self, texts: pa.Array) -> None:
        if self._mark is not None:
            self.evidence = plain_evidence_of(texts, mark=self._mark) | (self.evidence or NO_EVIDENCE)
