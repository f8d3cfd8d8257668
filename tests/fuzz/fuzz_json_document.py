"""A libFuzzer target: any bytes are the document that orjson reads, in slices of any size, or an InvalidRequest.

python tests/fuzz/fuzz_json_document.py FOLDER -max_total_time=60
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atheris
import orjson

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["service.http.wire"]):
    from service.http.wire.bulk_json import NumberReader
    from service.http.wire.json_document import SlicedDocument
    from service.http.wire.json_text import USUAL_SIZES, SliceSizes
    from service.http.wire.large_array import LargeArray

from service.errors import InvalidRequest, TooLarge

PATHS = ([("a",), ("b", "*", "c")], [()], [("*",)], [])
SIZES = (USUAL_SIZES, SliceSizes(1, 64, 512, 16, 16), SliceSizes(16, 16, 600, 100, 4), SliceSizes(64, 256, 512, 8, 64))
NUMBERS = (None, NumberReader())


def read(data: bytes) -> None:
    """Reads one input of the fuzzer, whose last byte selects the way of reading."""
    if not data:
        return
    body, way = data[:-1], data[-1]
    document = SlicedDocument(
        body, PATHS[way & 3], numbers=NUMBERS[way >> 2 & 1], most_elements=1 << 12, sizes=SIZES[way >> 3 & 3]
    )
    try:
        for _ in document.steps():
            pass
        found = plain(document.document)
    except (InvalidRequest, TooLarge):
        return
    expected = orjson.loads(body)
    assert found == expected, (found, expected)


def plain(value: Any) -> Any:
    """Returns a document with lists in place of large arrays."""
    if isinstance(value, LargeArray):
        length = len(value)
        elements = value.collected()
        assert len(elements) == length
        return elements
    if isinstance(value, dict):
        return {key: plain(below) for key, below in value.items()}
    return [plain(below) for below in value] if isinstance(value, list) else value


def write_seeds(folder: Path) -> None:
    """Writes valid documents, each for several ways of reading."""
    documents = (
        b'{"a": [1, 2.5, -3e2], "b": [{"c": [[1, 2], [3, 4]], "d": "x"}, {"c": []}]}',
        b'{"a": ["x,y", "\\"],[", "\\u00e9\\\\", null, true], "b": {"k": {"c": [{"e": 1}, {}]}}}',
        b"[" + b"[1, 2], " * 40 + b"[3, 4]]",
        b'["' + b'a\\",' * 60 + b'", 7]',
        b'{"b": [' + b'{"n": "x", "c": [1]}, ' * 12 + b'{"c": ["y"]}]}',
    )
    for number, document in enumerate(documents):
        for way in (0, 4, 13, 22, 30):
            (folder / f"{number}-{way}").write_bytes(document + bytes((way,)))


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
