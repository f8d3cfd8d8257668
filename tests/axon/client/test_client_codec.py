"""The codec of the Open Inference Protocol against bytes that are written by hand."""

from __future__ import annotations

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon.client.open_inference import NotOpenInference, narrowed, read_answer, write_matrix
from models.columns.cell_text import category_of
from models.columns.column import CategoricalColumn
from models.columns.frame_rows import rows_of
from models.columns.named_columns import cells_for

HEAD = (
    b'{"inputs":[{"name":"input","datatype":"FP32","shape":[2,3],"parameters":{"binary_data_size":24}}],'
    b'"parameters":{"binary_data_output":true}}'
)


def answer(*outputs: tuple[str, str, list[int], bytes]) -> tuple[bytes, int]:
    """Returns an answer with binary outputs: name, datatype, shape and bytes of each."""
    document = {
        "model_name": "m",
        "model_version": "7",
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
            for name, datatype, shape, data in outputs
        ],
    }
    head = json.dumps(document).encode()
    return head + b"".join(data for *_, data in outputs), len(head)


def test_a_matrix_is_written_byte_for_byte() -> None:
    matrix = np.array([[1, 2, 3], [4.5, -6, np.nan]], dtype="<f4")
    body, json_bytes = write_matrix(matrix)
    assert body[:json_bytes] == HEAD
    assert body[json_bytes:] == struct.pack("<6f", 1, 2, 3, 4.5, -6, float("nan"))
    wide, json_bytes = write_matrix(np.array([[0.1]]))
    assert b'"datatype":"FP64","shape":[1,1],"parameters":{"binary_data_size":8}' in wide[:json_bytes]
    assert wide[json_bytes:] == struct.pack("<d", 0.1)


@pytest.mark.parametrize(
    ("matrix", "dtype"),
    [
        (np.array([[0.5, np.nan]]), "<f4"),
        (np.array([[0.5, 0.1]]), "<f8"),
        (np.array([[1e300, 1.0]]), "<f8"),
        (np.array([[2**24, 3]]), "<f4"),
        (np.array([[2**24 + 1, 3]]), "<f8"),
        (np.array([[0.1]], dtype=np.float32), "<f4"),
        (np.array([[0.1]], dtype=">f8"), "<f8"),
        (np.array([[1, 2]], dtype=np.uint8), "<f4"),
        (np.asfortranarray(np.arange(6.0).reshape(2, 3)), "<f4"),
        (np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2], "<f4"),
    ],
)
def test_a_matrix_is_narrowed_only_without_a_loss(matrix: np.ndarray, dtype: str) -> None:
    narrow = narrowed(matrix, is_numeric=True)
    assert narrow.dtype == np.dtype(dtype)
    assert narrow.flags.c_contiguous
    np.testing.assert_array_equal(narrow.astype(np.float64), matrix.astype(np.float64))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8", "float64", "float32", ">f8", ">i8", "float16"])
@given(st.data())
def test_a_number_names_the_same_category_in_either_form(dtype: str, data: st.DataObject) -> None:
    if np.dtype(dtype).kind == "f":
        width = 8 * np.dtype(dtype).itemsize
        numbers = st.floats(allow_nan=False, allow_infinity=False, width=width)
        numbers |= st.integers(-2000, 2000).map(float) | st.sampled_from([0.5, 2.0**-14, -0.0])
        if width == 64:
            numbers |= st.sampled_from([134_217_744.0, 2.0**53, 0.1]) | st.integers(2**23, 2**28).map(float)
    else:
        limits = np.iinfo(dtype)
        numbers = st.integers(int(limits.min), int(limits.max)) | st.integers(0, 100)
    matrix = np.array(data.draw(st.lists(numbers, min_size=1, max_size=4)), dtype)[:, None]
    column = CategoricalColumn(name="id", categories=("1",))
    sent = narrowed(matrix, is_numeric=False)
    read = [category_of(cell) for cell in cells_for(column, sent[:, 0])]
    assert read == [category_of(row[0]) for row in rows_of(matrix, ["id"], categorical=["id"])]
    if matrix.dtype.kind in "iu":
        assert read == [str(int(number)) for number in matrix[:, 0]]
    elif matrix.itemsize == 8:
        assert [float(name or "nan") for name in read] == matrix[:, 0].tolist()


def test_small_whole_numbers_travel_in_32_bits_and_others_in_64_bits_of_their_kind() -> None:
    for dtype in ("int64", "uint64", "float64"):
        assert narrowed(np.array([[3, 2**24]], dtype), is_numeric=False).dtype == "<f4"
    for dtype, wide in (("int64", "<i8"), ("uint32", "<u8"), ("float64", "<f8")):
        matrix = narrowed(np.array([[3, 2**24 + 2]], dtype), is_numeric=False)
        assert matrix.dtype == wide
        body, json_bytes = write_matrix(matrix)
        name = {"i": b"INT64", "u": b"UINT64", "f": b"FP64"}[matrix.dtype.kind]
        assert b'"datatype":"%b","shape":[1,2],"parameters":{"binary_data_size":16}' % name in body[:json_bytes]
        assert body[json_bytes:] == np.array([3, 2**24 + 2], wide).tobytes()
    gaps = narrowed(np.array([[3, np.nan]]), is_numeric=False)
    assert gaps.dtype == "<f4"


def test_an_answer_in_binary_is_read() -> None:
    texts = b"\x03\0\0\0red\x06\0\0\0gr\xc3\xbcn "
    numbers = struct.pack("<4f", 0.25, 0.75, 1, 0)
    body, json_bytes = answer(("predictions", "BYTES", [2], texts), ("probabilities", "FP32", [2, 2], numbers))
    model, version, outputs = read_answer(body, json_bytes)
    assert (model, version) == ("m", "7")
    assert outputs["predictions"] == ["red", "grün "]
    np.testing.assert_array_equal(outputs["probabilities"], [[0.25, 0.75], [1, 0]])
    for datatype, form, value in (("INT64", "<q", -(2**60)), ("UINT64", "<Q", 2**63), ("BOOL", "<?", True)):
        body, json_bytes = answer(("predictions", datatype, [1], struct.pack(form, value)))
        assert np.asarray(read_answer(body, json_bytes)[2]["predictions"]).tolist() == [value]


def test_an_answer_in_json_and_one_of_both_kinds_are_read() -> None:
    document = {
        "model_name": "m",
        "model_version": "1",
        "outputs": [
            {"name": "predictions", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]},
            {"name": "probabilities", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 1]},
        ],
    }
    assert read_answer(json.dumps(document).encode(), None)[2]["predictions"] == ["a", "b"]
    document["outputs"][1] = {  # type: ignore[index]
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [2, 1],
        "parameters": {"binary_data_size": 8},
    }
    head = json.dumps(document).encode()
    outputs = read_answer(head + struct.pack("<2f", 0.5, 1), len(head))[2]
    np.testing.assert_array_equal(outputs["probabilities"], [[0.5], [1]])


@pytest.mark.parametrize(
    "outputs",
    [
        [("predictions", "BYTES", [2], b"\x03\0\0\0red")],
        [("predictions", "BYTES", [1], b"\x04\0\0\0red")],
        [("predictions", "BYTES", [1], b"\x03\0")],
        [("predictions", "BYTES", [1], b"\x01\0\0\0\xff")],
        [("predictions", "FP32", [3], b"\0" * 8)],
        [("predictions", "FP32", [-1], b"\0" * 8)],
        [("predictions", "FP99", [1], b"\0" * 8)],
        [("predictions", "INT64", [2**63], b"\0" * 8)],
    ],
)
def test_sizes_that_do_not_fit_are_told(outputs: list[tuple[str, str, list[int], bytes]]) -> None:
    with pytest.raises(NotOpenInference):
        read_answer(*answer(*outputs))


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 300)))
def test_any_other_body_is_told_too(body: bytes, json_bytes: int | None) -> None:
    with pytest.raises(NotOpenInference):
        read_answer(body, json_bytes)


@given(st.data())
def test_a_damaged_answer_is_read_or_told(data: st.DataObject) -> None:
    body, json_bytes = answer(
        ("predictions", "BYTES", [1], b"\x03\0\0\0red"), ("probabilities", "FP32", [1, 1], b"\0" * 4)
    )
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + 1 :]
    with contextlib.suppress(NotOpenInference):
        read_answer(damaged, json_bytes)
