"""Arrow streams with lies get a documented answer over HTTP, and harm no process."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from fuzzed_models import DEFAULT_MODEL, FUZZ_SECONDS, MODELS, document
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import Server, http_client

from models.columns.schema import CategoricalColumn

pytestmark = pytest.mark.faults

ARROW = "application/vnd.apache.arrow.stream"
LIES = [0, -1, 1, 7, 255, 65_536, 2**31, 2**40, 2**62, -(2**63)]


def stream_of(model: str, compression: str | None) -> bytes:
    """Returns a stream of valid rows for a model, in two batches."""
    table = pa.table(
        {
            column.name: pa.array([column.categories[0], None, "zz"]).dictionary_encode()
            if isinstance(column, CategoricalColumn) and model == DEFAULT_MODEL
            else pa.array([column.categories[0]] * 3, pa.string_view())
            if isinstance(column, CategoricalColumn)
            else pa.array(np.arange(3) / 7)
            for column in MODELS[model].schema.columns
        }
        | {"other": [[1], [], None]}
    )
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


STREAMS = [(model, stream_of(model, codec)) for model in MODELS for codec in (None, "lz4", "zstd")]


def test_any_stream_gets_a_documented_answer(fuzzed: Server) -> None:
    statuses = {int(status) for status in document(fuzzed)["paths"]["/predict"]["post"]["responses"]}
    seen: set[int] = set()

    @settings(
        max_examples=20 * FUZZ_SECONDS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(STREAMS),
        st.lists(st.tuples(st.integers(0, 10**5), st.sampled_from([1, 2, 4, 8]), st.sampled_from(LIES)), max_size=4),
        st.integers(0, 10**5) | st.none(),
        st.sampled_from([None, ARROW, "text/csv", "application/json", "text/html"]),
    )
    def ask(sent: tuple[str, bytes], lies: list[tuple[int, int, int]], cut: int | None, accept: str | None) -> None:
        model, stream = sent
        body = bytearray(stream)
        for place, size, lie in lies:
            at = place % (len(body) - size)
            body[at : at + size] = (lie % 2 ** (8 * size)).to_bytes(size, "little")
        if cut is not None:
            del body[cut % len(body) :]
        headers = {"Content-Type": ARROW} | ({} if accept is None else {"Accept": accept})
        answer = client.post(f"{fuzzed.url}/predict?model={model}", content=bytes(body), headers=headers)
        seen.add(answer.status_code)
        assert answer.status_code in statuses
        assert answer.status_code < 500, answer.text
        if answer.status_code == 200:
            assert answer.headers["content-type"].startswith(accept or "application/json")
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]

    with http_client(timeout=30) as client:
        ask()
    assert {200, 406, 422} <= seen
