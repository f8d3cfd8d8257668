"""Requests of the client where the columns of the model decide how cells are sent, and the columns change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from answering_server import Recorded, answering, response

from axon.client import Client

ROWS = 64


def detail(version: int, *kinds: str) -> dict[str, Any]:
    """Returns the detail of a version with columns `a`, `b`, … of these kinds."""
    columns = [{"name": name, "kind": kind} for name, kind in zip("abc", kinds, strict=False)]
    return {"name": "m", "version": version, "classes": None, "columns": columns}


def answered(version: int, rows: int, path: str) -> bytes:
    """Returns the answer of a version to some rows, in the form of the path."""
    if "/v2/" not in path:
        return response(200, {"model": "m", "version": version, "predictions": [float(version)] * rows})
    output = {"name": "predictions", "datatype": "FP64", "shape": [rows], "data": [float(version)] * rows}
    return response(200, {"model_name": "m", "model_version": str(version), "outputs": [output]})


def test_cells_are_sent_again_where_a_new_version_has_other_kinds_of_columns() -> None:
    published = {"now": 1}
    kinds = {1: ("numeric", "numeric"), 2: ("categorical", "numeric"), 3: ("numeric", "categorical")}

    def answer(number: int, request: Recorded) -> bytes:
        method, path, _ = request.line.split()
        if method == "GET":
            _, _, version = path.partition("@")
            return response(200, detail(int(version or published["now"]), *kinds[int(version or published["now"])]))
        return answered(published["now"], ROWS, path)

    ids = np.array([[134_217_744, 1]] * ROWS)
    with answering(answer) as server, Client(server.url) as client:
        short = pd.DataFrame({"a": np.full(ROWS, 0.1, np.float32), "b": np.full(ROWS, 0.7, np.float32)})
        assert client.predict(short, "m").predictions == [1.0] * ROWS
        assert client.predict(ids, "m").predictions == [1.0] * ROWS
        assert b'"datatype":"FP32"' in server.requests[-1].body, "a column of numbers keeps the number in 32 bits"
        published["now"] = 2
        assert client.predict(ids, "m").predictions == [2.0] * ROWS
        assert json.loads(server.requests[-1].body)["instances"] == ids.tolist()
        assert client.predict(short, "m").version == 2
        wide = float(np.float32(0.7))
        assert json.loads(server.requests[-1].body)["instances"] == [[0.1, wide]] * ROWS
        published["now"] = 3
        assert client.predict(short, "m").version == 3
        wide = float(np.float32(0.1))
        assert json.loads(server.requests[-1].body)["instances"] == [[wide, 0.7]] * ROWS
