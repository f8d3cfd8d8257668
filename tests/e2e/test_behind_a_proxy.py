"""A server under a proxy's path prefix: requests from pages of other sites, and the client's address from the proxy."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from serving import Server, http_get, http_post, make_store, running, wait_until

pytestmark = pytest.mark.slow

ORIGIN = "https://app.example.org"
BODY: dict[str, Any] = {"model": "colours", "instances": [[0.1, 0.2, 0.3, 0.4]]}


@contextmanager
def proxy(server: Server, *, strips: bool) -> Iterator[str]:
    """Runs a reverse proxy with the server under `/axon/`; yields the address with the prefix."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/axon") if strips else self.path
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            headers["X-Forwarded-For"] = ", ".join(filter(None, [self.headers.get("x-forwarded-for"), "203.0.113.7"]))
            found = httpx.request(self.command, f"{server.url}{path}", content=body, headers=headers)
            self.send_response(found.status_code)
            for name, value in found.headers.items():
                if name not in ("content-encoding", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.content)))
            self.end_headers()
            self.wfile.write(found.content)

        do_POST = do_OPTIONS = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/axon"
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server configured with its prefix, one allowed site, and one trusted proxy."""
    folder = tmp_path_factory.mktemp("rooted")
    settings = {"root_path": "/axon/", "cors_origins": ORIGIN, "trusted_hops": 1, "access_log": True}
    with running(make_store(folder).root, folder, **settings) as server:
        yield server


@pytest.mark.parametrize("strips", [True, False])
def test_the_api_and_its_page_work_under_a_prefix(rooted: Server, strips: bool) -> None:
    with proxy(rooted, strips=strips) as address:
        index = http_get(f"{address}/", follow_redirects=True)
        assert str(index.url) == f"{address}/docs"
        assets = re.findall(r'(?:src|href)="([^"]+)"', index.text)
        [document_url] = re.findall(r"url: '([^']+)'", index.text)
        for asset in [document_url, *(asset for asset in assets if not asset.startswith("data:"))]:
            assert http_get(str(index.url.join(asset))).status_code == 200
        document = http_get(str(index.url.join(document_url))).json()
        base = httpx.URL(f"{address}/openapi.json").join(document["servers"][0]["url"])
        assert str(base) == address
        assert http_get(f"{base}/models").status_code == 200
        assert http_post(f"{base}/predict", json=BODY).status_code == 200
        assert http_post(f"{base}/predict?x=1", json=BODY).status_code == 200
        for path in ("/nothing", "/axon/predict", "/axonmodels"):
            assert http_get(f"{base}{path}").status_code in (404, 405)


def test_what_asks_past_the_proxy_is_answered_as_ever(rooted: Server) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/models/colours"):
        assert http_get(f"{rooted.url}{path}").status_code == 200
    assert http_post(f"{rooted.url}/predict", json=BODY).status_code == 200
    assert http_get(f"{rooted.url}/axon", follow_redirects=True).status_code == 200
    assert http_get(f"{rooted.url}/axonmodels").status_code == 404


def test_without_the_setting_the_page_is_found_behind_a_proxy_that_strips(server: Server) -> None:
    with proxy(server, strips=True) as address:
        assert str(http_get(f"{address}/", follow_redirects=True).url) == f"{address}/docs"
    assert "servers" not in http_get(f"{server.url}/openapi.json").json()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/predict", BODY, 200), ("/predict", {"model": "nobody"}, 422), ("/models", None, 200), ("/nothing", None, 404)],
)
def test_a_page_of_an_allowed_site_may_read_answers(rooted: Server, path: str, body: object, status: int) -> None:
    def ask(origin: str | None) -> httpx.Response:
        headers = {} if origin is None else {"Origin": origin}
        if body is None:
            return http_get(f"{rooted.url}{path}", headers=headers)
        return http_post(f"{rooted.url}{path}", json=body, headers=headers)

    allowed, other, none = ask(ORIGIN), ask("https://evil.example.org"), ask(None)
    assert {answer.status_code for answer in (allowed, other, none)} == {status}
    assert allowed.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert allowed.headers["access-control-expose-headers"] == "*"
    assert "Origin" in allowed.headers["vary"]
    for answer in (other, none):
        assert "access-control-allow-origin" not in answer.headers


def test_a_browser_asks_first_and_is_told_yes(rooted: Server) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-request-id",
    }
    for path in ("/predict", "/axon/predict", "/models/refresh"):
        answer = httpx.options(f"{rooted.url}{path}", headers=asked)
        assert answer.status_code == 200, path
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
    refused = httpx.options(f"{rooted.url}/predict", headers=asked | {"Origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in refused.headers


def test_no_site_may_read_answers_by_default(server: Server) -> None:
    for answer in (
        http_post(f"{server.url}/predict", json=BODY, headers={"Origin": ORIGIN}),
        http_get(f"{server.url}/models", headers={"Origin": ORIGIN}),
        httpx.options(f"{server.url}/predict", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def logged(server: Server, request_id: str) -> list[str]:
    """Returns the client's address from each access log line about a request."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    return [line["client"] for line in lines if line.get("request_id") == request_id and "client" in line]


def test_the_access_log_has_the_address_that_the_proxy_saw(rooted: Server) -> None:
    with proxy(rooted, strips=True) as address:
        headers = {"X-Request-ID": "through", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
        assert http_post(f"{address}/predict", json=BODY, headers=headers).status_code == 200
    assert http_post(f"{rooted.url}/predict", json=BODY, headers={"X-Request-ID": "past"}).status_code == 200
    wait_until(lambda: bool(logged(rooted, "through") and logged(rooted, "past")), rooted.log)
    assert logged(rooted, "through") == ["203.0.113.7"]
    assert logged(rooted, "past") == ["127.0.0.1"]


def test_the_access_log_has_the_peers_address_by_default(server: Server) -> None:
    headers = {"X-Request-ID": "by-default", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
    assert http_post(f"{server.url}/predict", json=BODY, headers=headers).status_code == 200
    wait_until(lambda: bool(logged(server, "by-default")), server.log)
    assert logged(server, "by-default") == ["127.0.0.1"]
