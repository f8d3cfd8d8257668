"""Both of Arrow's forms of a missing cell, no index and the index of a null value, are missing in scoring."""

import pyarrow as pa
import pytest

from models.columns.column import CategoricalColumn
from models.columns.dictionary_cells import DictionaryCells
from scoring.cells import cells_of

COLUMN = CategoricalColumn(name="x", categories=("a", "b"), unknown="ignore", missing="ignore")
TEXTS = ["a", None, "b", "b", None, "a"]


@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("form", ["encode", "mask"])
def test_a_null_among_the_values_of_a_dictionary_is_a_missing_cell(form: str, chunks: int) -> None:
    size = len(TEXTS) // chunks
    parts = [pa.array(TEXTS[start : start + size]) for start in range(0, len(TEXTS), size)]
    given = pa.chunked_array([part.dictionary_encode(null_encoding=form) for part in parts])
    cells = cells_of(given, COLUMN)
    assert isinstance(cells, DictionaryCells)
    assert cells.listed(list) == TEXTS
