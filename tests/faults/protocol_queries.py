"""Requests of a crowd in the Open Inference Protocol, in JSON and with binary tensors, read by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from json import JSONDecoder
from typing import Any

import numpy as np
import orjson
from serving import CHECKPOINTS


class JsonCodec:
    """Axon's own JSON."""

    def request(self, model: str, rows: Sequence[Any]) -> tuple[str, dict[str, str], bytes]:
        """Returns path, headers and body of a request."""
        return "/predict", {}, orjson.dumps({"model": model, "instances": rows})

    def answer(self, body: bytes) -> tuple[str, list[Any], list[list[float]] | None]:
        """Returns model, predictions and probabilities of an answer; None for a regressor's probabilities."""
        document = orjson.loads(body)
        return document["model"], document["predictions"], document.get("probabilities")


class InferJsonCodec(JsonCodec):
    """The Open Inference Protocol in JSON."""

    def request(self, model: str, rows: Sequence[Any]) -> tuple[str, dict[str, str], bytes]:
        """Returns path, headers and body of a request; columns of texts go as a tensor each."""
        inputs = []
        for name, cells in _tensors(model, rows):
            is_text = isinstance(cells[0], str)
            shape = [len(rows), len(cells) // len(rows)]
            datatype = "BYTES" if is_text else "FP64"
            inputs.append({"name": name, "shape": shape, "datatype": datatype, "data": cells})
        return f"/v2/models/{model}/infer", {}, orjson.dumps({"id": f"{len(rows)} rows", "inputs": inputs})

    def answer(self, body: bytes) -> tuple[str, list[Any], list[list[float]] | None]:
        """Returns model, predictions and probabilities of an answer."""
        document = orjson.loads(body)
        return _outputs(document, {output["name"]: output["data"] for output in document["outputs"]})


class InferBinaryCodec(JsonCodec):
    """The Open Inference Protocol with binary tensors, both ways."""

    def request(self, model: str, rows: Sequence[Any]) -> tuple[str, dict[str, str], bytes]:
        """Returns path, headers and body of a request."""
        inputs, parts = [], []
        for name, cells in _tensors(model, rows):
            if isinstance(cells[0], str):
                texts = [cell.encode() for cell in cells]
                datatype, data = "BYTES", b"".join(struct.pack("<I", len(text)) + text for text in texts)
            else:
                datatype, data = "FP64", np.array(cells, dtype="<f8").tobytes()
            shape = [len(rows), len(cells) // len(rows)]
            size = {"binary_data_size": len(data)}
            inputs.append({"name": name, "shape": shape, "datatype": datatype, "parameters": size})
            parts.append(data)
        head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
        headers = {"Inference-Header-Content-Length": str(len(head))}
        return f"/v2/models/{model}/infer", headers, b"".join((head, *parts))

    def answer(self, body: bytes) -> tuple[str, list[Any], list[list[float]] | None]:
        """Returns model, predictions and probabilities of an answer."""
        document, at = JSONDecoder().raw_decode(body.decode("latin-1"))
        found: dict[str, list[Any]] = {}
        for output in document["outputs"]:
            size = output["parameters"]["binary_data_size"]
            data, at = body[at : at + size], at + size
            if output["datatype"] == "BYTES":
                found[output["name"]] = texts = []
                while data:
                    [length] = struct.unpack_from("<I", data)
                    texts.append(data[4 : 4 + length].decode())
                    data = data[4 + length :]
            else:
                kind = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[output["datatype"]]
                found[output["name"]] = np.frombuffer(data, dtype=kind).tolist()
        assert at == len(body), "bytes are left behind the outputs"
        return _outputs(document, found)


CODECS: tuple[JsonCodec, ...] = (JsonCodec(), InferJsonCodec(), InferBinaryCodec())


def _tensors(model: str, rows: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Returns names and elements of tensors: one of all columns, or one for each column if some are texts."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    if any(isinstance(cell, str) for cell in rows[0]):
        return list(zip(CHECKPOINTS[model].schema.names, columns, strict=True))
    return [("input", [cell for row in rows for cell in row])]


def _outputs(document: Any, data: dict[str, list[Any]]) -> tuple[str, list[Any], list[list[float]] | None]:
    predictions, probabilities = data["predictions"], data.get("probabilities")
    if probabilities is None:
        return document["model_name"], predictions, None
    width = len(probabilities) // len(predictions)
    return (
        document["model_name"],
        predictions,
        [probabilities[at : at + width] for at in range(0, len(probabilities), width)],
    )
