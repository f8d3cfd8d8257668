"""Direct routes are found by method and path, their parameters percent-decoded, and nothing else fits."""

from __future__ import annotations

from typing import Any, cast

import pytest

from service.http.direct_routes import DirectRoutes
from service.http.exchange import DirectEndpoint

PLAIN, MODEL, VERSION, VERB = (cast(DirectEndpoint, name) for name in ("plain", "model", "version", "verb"))


@pytest.fixture(scope="module")
def routes() -> DirectRoutes:
    routes = DirectRoutes()
    routes.add("POST", "/predict", PLAIN)
    routes.add("POST", "/v2/models/{model}/infer", MODEL)
    routes.add("POST", "/v2/models/{model}/versions/{version}/infer", VERSION)
    routes.add("POST", "/v1/models/{model}:predict", VERB)
    return routes


@pytest.mark.parametrize(
    ("target", "endpoint", "query", "parameters"),
    [
        (b"/predict", PLAIN, b"", {}),
        (b"/predict?model=a", PLAIN, b"model=a", {}),
        (b"/%70redict", PLAIN, b"", {}),
        (b"http://host/predict", PLAIN, b"", {}),
        (b"/v2/models/iris/infer", MODEL, b"", {"model": "iris"}),
        (b"/v2/models/iris%403/infer?x=1", MODEL, b"x=1", {"model": "iris@3"}),
        (b"/v2/models/a%2Fb/infer", MODEL, b"", {"model": "a/b"}),
        (b"/v2/models/n%C3%A4he/infer", MODEL, b"", {"model": "nähe"}),
        (b"/v2/models/iris/versions/3/infer", VERSION, b"", {"model": "iris", "version": "3"}),
        (b"/v1/models/iris:predict", VERB, b"", {"model": "iris"}),
        (b"/v1/models/iris%3Apredict", VERB, b"", {"model": "iris"}),
    ],
)
def test_a_route_is_found(
    routes: DirectRoutes, target: bytes, endpoint: Any, query: bytes, parameters: dict[str, str]
) -> None:
    assert routes.find(b"POST", target) == (endpoint, query, parameters)


@pytest.mark.parametrize(
    "target",
    [b"/", b"/predict/", b"/v2/models//infer", b"/v2/models/a/b/infer", b"/v2/models/iris", b"/v2/models/a/infer/"],
)
def test_other_targets_are_no_routes(routes: DirectRoutes, target: bytes) -> None:
    assert routes.find(b"POST", target) is None
    assert routes.find(b"GET", b"/v2/models/iris/infer") is None
