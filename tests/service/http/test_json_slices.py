"""Large requests parsed in slices give the same content as the whole body, at any division into slices."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import orjson
import pytest

from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_slices import RequestShape, RowTooWide, SlicedRequest, model_last
from service.http.wire.json_text import USUAL_SIZES, SliceSizes

TRAPS = ["a", "],[", "},{", '"', "\\", "é]", "]", "x,y", "{", "[1]", "]]}", '"}', "\\]", ",", ""]
NOISE = b'[]{},:"\\ 1ax'
READERS = [None, NumberReader()]


# Slices of a few bytes, so that small bodies have many and every cut is tried.
SHORT = [SliceSizes(first=64, usual=64, longest=512, scanned=16, space=16), SliceSizes(1, 300, 2400, 16, 16)]


def read(
    body: bytes, numbers: NumberReader | None = None, most_cells: int = 1000, sizes: SliceSizes = USUAL_SIZES
) -> tuple[str | None, list[Any]]:
    """Returns the model and the rows of all slices."""
    request = SlicedRequest(body, most_cells=most_cells, numbers=numbers, sizes=sizes)
    rows: list[Any] = []
    for some in request.slices():
        if some is not None:
            rows += some.tolist() if isinstance(some, np.ndarray) else some
    assert request.at == len(body)
    return request.model, rows


def random_document(dice: random.Random) -> dict[str, Any]:
    """Makes a request with rows as lists, objects, a mixture, or only numbers, some longer than a slice."""
    kind, width = dice.choice(["lists", "objects", "mixed", "numbers"]), dice.choice([1, 2, 3, 5, 60])

    def cell() -> Any:
        if kind == "numbers" or dice.random() < 0.5:
            return dice.choice([dice.gauss(0, 1), dice.randint(-5, 5)])
        return dice.choice([None, True, False, dice.choice(TRAPS)])

    rows: list[Any] = []
    for _ in range(dice.randint(1, 30)):
        cells = [cell() for _ in range(width)]
        is_object = kind == "objects" or (kind == "mixed" and dice.random() < 0.5)
        rows.append({f"c{i}": value for i, value in enumerate(cells)} if is_object else cells)
    parts = [("instances", rows), *([("model", "m@1")] if dice.random() < 0.5 else [])]
    dice.shuffle(parts)
    return dict(parts)


@pytest.mark.parametrize("sizes", SHORT)
@pytest.mark.slow
def test_a_request_is_read_as_its_whole_json_is(sizes: SliceSizes) -> None:
    dice = random.Random(1)
    for _ in range(700):
        document = random_document(dice)
        text = json.dumps(document, indent=dice.choice([None, None, 1]), ensure_ascii=dice.random() < 0.5)
        body = text.encode() + b" " * dice.choice([0, 0, 100])
        assert read(body, dice.choice(READERS), sizes=sizes) == (document.get("model"), document["instances"]), body


@pytest.mark.parametrize("sizes", SHORT)
@pytest.mark.slow
def test_damaged_json_is_refused_where_the_parser_refuses_it(sizes: SliceSizes) -> None:
    dice = random.Random(2)
    accepted = 0
    for _ in range(1500):
        body = bytearray(orjson.dumps(random_document(dice)))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(body))
            body[at : at + dice.choice([0, 1, 1])] = bytes([dice.choice(NOISE)] * dice.choice([0, 1]))
        expected = valid_request(bytes(body))
        try:
            found = read(bytes(body), sizes=sizes)
        except (InvalidRequest, RequestShape):
            assert expected is None, bytes(body)
            continue
        assert found == expected, bytes(body)
        accepted += 1
    assert 50 < accepted < 1200, "some damage leaves a request"


def valid_request(body: bytes) -> tuple[str | None, list[Any]] | None:
    """Returns the model and the rows of the whole body, or None if the body is not a valid request."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or not set(document) <= {"instances", "model"}:
        return None
    model, rows = document.get("model"), document.get("instances")
    if not (isinstance(rows, list) and rows and (model is None or isinstance(model, str))):
        return None
    return model, rows


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unexpected character at byte 0"),
        (b'{"instances": [[1, 2], [3 4]]}', "at byte 26"),
        ('{"instances": [["é", x]]}'.encode(), "at byte 22"),
        (b'{"instances": [[1]]} {}', "unexpected content after the document at byte 21"),
        (b'{"instances": [[1],]}', "at byte"),
        (b'{"instances": [[1]', "unexpected end at byte 18"),
        (b'{"instances": [["\xff"]]}', "not valid UTF-8"),
        (b'{"instances": [[1]], "instances": [[2]]}', "'instances' stands twice"),
        (b'{"instances": [["' + b"a" * 300_000 + b'"]]}', "Row 0: a value of more than 262,144 bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    assert reason in str(caught.value)


def test_a_row_is_not_read_on_once_it_has_more_cells_than_it_may() -> None:
    body = b'{"instances": [[0], [' + b"1," * 4_000_000 + b"1]]}"
    request = SlicedRequest(body, most_cells=30, numbers=None)
    with pytest.raises(RowTooWide) as caught:
        list(request.slices())
    assert (caught.value.row, caught.value.cells) == (1, 30)
    assert request.at < 300_000


@pytest.mark.slow
def test_no_slice_is_long() -> None:
    rows = [[float(i), "text", None] for i in range(200_000)]
    sizes = [
        len(some)
        for some in SlicedRequest(orjson.dumps({"instances": rows}), most_cells=3, numbers=None).slices()
        if some
    ]
    assert sum(sizes) == len(rows)
    assert max(sizes) < 12_000


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"instances": [[1]], "model": "iris@prod"}\n', "iris@prod"),
        (b'{"model": "a", "instances": [[1]]}', None),
        (rb'{"instances": [{"x\"model":"a"}', None),
        (b'{"instances": [{"model":"a"}]}', None),
    ],
)
def test_the_model_is_found_where_it_comes_last(body: bytes, model: str | None) -> None:
    assert model_last(body) == model
