"""The table of routes in docs/protocols.md is what the server answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import CLASSES, ROOT, Server, make_checkpoint, numeric, running

from models.columns.schema import Schema
from models.store import Store

pytestmark = pytest.mark.slow

ROUTE = re.compile(r"`(GET|POST) (/[^` ]*)`")
PAGE = (ROOT / "docs/protocols.md").read_text()
TABLE = PAGE[PAGE.index("| protocol |") : PAGE.index("`{m}` is a name")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("protocols")
    store = Store(folder / "store")
    store.publish("m", make_checkpoint(Schema(columns=(numeric("a"), numeric("b")), target=CLASSES), 8))
    with running(store.root, folder) as server:
        yield server


def test_each_route_of_the_table_is_there(server: Server) -> None:
    routes = ROUTE.findall(TABLE)
    assert len(routes) >= 10
    with httpx.Client(base_url=server.url) as client:
        for method, path in routes:
            for version in ("", "/versions/1") if "/v2/models/{m}" in path else ("",):
                place = path.replace("{m}", f"m{version}").replace("{v}", "1").replace("{l}", "newest")
                answer = client.request(method, place)
                assert answer.status_code not in (404, 405, 500), f"{method} {place}: {answer.text}"
                other = {"GET": "POST", "POST": "GET"}[method]
                assert client.request(other, place).status_code in (404, 405), f"{other} {place}"
