"""The example in a model's details is a request that the model accepts, for columns of any kind."""

from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from service.http.json_pieces import json_pieces
from service.http.routes.models import example_request
from service.http.schemas import PredictRequest

SPAN = {"mean": 19_874.5, "std": 2.0, "minimum": 19_870.0, "maximum": 19_880.0}
SCHEMA = Schema(
    columns=(
        NumericColumn(name="n", missing="indicator", center=0.0, scale=2.0, **SPAN),
        CategoricalColumn(name="s", categories=("no", "yes"), encoding="sign"),
        CategoricalColumn(name="i", categories=("x", "y", "z"), encoding="index"),
        DateColumn(name="d", parts=("month", "hour"), **SPAN),
    ),
    target=ClassTarget(name="y", labels=("a", "b")),
)


def written_example(served):
    return PredictRequest.model_validate(orjson.loads(b"".join(json_pieces(example_request(served, served.name)))))


@pytest.mark.parametrize("header", [{}, {"data": {}}, {"data": {"examples": []}}])
def test_a_row_is_made_of_the_columns_where_the_checkpoint_has_none(header):
    served = SimpleNamespace(name="m", schema=SCHEMA, header=header)
    (row,) = written_example(served).instances
    assert row["d"] == "2024-05-31T12:00:00Z"
    encoded = RowEncoder(SCHEMA).encode_matrix([row])
    assert encoded.shape == (1, SCHEMA.width)
    assert np.isfinite(encoded).all()


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%Y%m%d", "epoch-seconds", "excel-days"])
def test_the_example_of_a_column_of_dates_is_taken_whatever_their_form_is(form):
    schema = Schema(columns=(DateColumn(name="d", form=form, **SPAN),), target=SCHEMA.target)
    (row,) = written_example(SimpleNamespace(name="m", schema=schema, header={})).instances
    assert RowEncoder(schema).encode_matrix([row]).tolist() == [[19_874.5]]


def test_a_row_of_the_training_table_comes_first():
    kept = {"n": 1.5, "s": "yes", "i": "z", "d": "2024-05-31"}
    served = SimpleNamespace(name="m", schema=SCHEMA, header={"data": {"examples": [kept]}})
    assert written_example(served).instances == [kept]
