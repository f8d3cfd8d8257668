"""Numbers in CSV files: a cell means the same beside any other cell, and a gap is what the server takes for one."""

from __future__ import annotations

import pyarrow as pa
import pytest

from models.columns.column import NumericColumn
from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.named_columns import Cells
from models.columns.schema import NumericTarget, Schema
from models.errors import RowError
from scoring.cells import cells_of

AGE = NumericColumn(name="age", mean=40, std=12, minimum=0, maximum=110, missing="indicator")
ENCODER = RowEncoder(
    Schema(columns=(AGE,), target=NumericTarget(name="spent", mean=0, std=1, minimum=-1, maximum=1)),
)
TEXTS = ["nan", "NaN", "NA", "null", "", " nan ", "\u00a0NaN", "-nan", "+nan", "NAN", " -NaN", "inf", "-inf", "word"]
BESIDE = [["1"], ["1", " 3"], ["1", "NA"], ["nan", "1"], [None], ["-nan"], ["word"]]


def features(cells: Cells) -> bytes | None:
    """Returns one encoded cell; None for a cell that the model refuses."""
    try:
        return bytes(ENCODER.encode_any(NamedColumns({"age": cells}, 1)))
    except RowError:
        return None


def read(texts: list[str | None]) -> list[bytes | None]:
    cells = cells_of(pa.array(texts, pa.string()), AGE, has_text_numbers=True)
    return [features(cells[row : row + 1]) for row in range(len(texts))]


@pytest.mark.parametrize("beside", BESIDE, ids=str)
def test_a_cell_means_the_same_beside_any_other_cell(beside: list[str | None]) -> None:
    # A client's row with the same text, which no number is.
    wanted = [(text, features([text])) for text in TEXTS] + [(text, features([7.5])) for text in ("7.5", "\t7.5 ")]
    assert sum(cell is None for _, cell in wanted) == 7
    for text, cell in wanted:
        assert read([text, *beside])[0] == cell, (text, beside)
        assert read([*beside, text])[-1] == cell, (text, beside)
