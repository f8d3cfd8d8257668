"""Access to a real server: keys, scopes, refresh, headers, and ids that would leave the store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from serving import CHECKPOINTS, ROOT, Server, http_get, http_post, running, wait_until

from models.store import CHECKPOINT_FILE, Store

ROW = [0.1, 0.2, 0.3, 0.4]
BODY = {"model": "colours", "instances": [ROW]}
KEYS = {scope: f"axon_e2e-{scope}-secret" for scope in ("predict", "read", "manage")}


def entry(scope: str, secret: str) -> str:
    return f"{scope}-only:{scope}:{hashlib.sha256(secret.encode()).hexdigest()}\n"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def publish_all(store: Store) -> None:
    for name, checkpoint in CHECKPOINTS.items():
        store.publish(name, checkpoint)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key for each scope and the fullest log."""
    folder = tmp_path_factory.mktemp("locked")
    publish_all(Store(folder / "store"))
    (folder / "keys").write_text("# a key for each scope\n" + entry("read", KEYS["read"]))
    environment = entry("predict", KEYS["predict"]) + entry("manage", KEYS["manage"])
    with running(
        folder / "store",
        folder,
        api_keys=environment,
        api_keys_file=folder / "keys",
        log_level="debug",
        access_log="true",
    ) as server:
        yield server


def ask(server: Server, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = BODY if path == "/predict" else None
    return httpx.request(method, f"{server.url}{path}", json=body, headers=headers, verify=False)


ROUTES = [
    ("POST", "/predict", {"predict"}),
    ("GET", "/models", {"read", "manage"}),
    ("GET", "/models/colours", {"read", "manage"}),
    ("GET", "/models/nobody", {"read", "manage"}),
    ("GET", "/models/colours/summary", {"read", "manage"}),
    ("GET", "/models/colours/summary?format=poem", {"read", "manage"}),
    ("GET", "/models/colours/network", {"read", "manage"}),
    ("GET", "/models/colours/training", {"read", "manage"}),
    ("POST", "/models/refresh", {"manage"}),
    ("GET", "/metrics", {"read", "manage"}),
    ("GET", "/docs", {"read", "manage"}),
    ("GET", "/docs/swagger-ui.css", {"read", "manage"}),
    ("GET", "/openapi.json", {"read", "manage"}),
]


@pytest.mark.parametrize(("method", "path", "scopes"), ROUTES)
def test_each_route_takes_a_key_of_its_scope(locked: Server, method: str, path: str, scopes: set[str]) -> None:
    for headers in ({}, bearer("axon_guess"), {"X-API-Key": ""}, {"Authorization": "Basic YTpi"}):
        answer = ask(locked, method, path, headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "urn:axon:problem:unauthenticated"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    for scope, secret in KEYS.items():
        for headers in (bearer(secret), {"X-API-Key": secret}):
            answer = ask(locked, method, path, headers)
            if scope in scopes:
                assert answer.status_code in (200, 404, 422), answer.text
            else:
                assert answer.status_code == 403
                assert answer.json()["type"] == "urn:axon:problem:forbidden"
                assert secret not in answer.text


def test_head_takes_the_key_that_get_takes(locked: Server) -> None:
    for headers, status in (({}, 401), (bearer(KEYS["predict"]), 403), (bearer(KEYS["read"]), 200)):
        answer = ask(locked, "HEAD", "/models", headers)
        assert answer.status_code == status
        assert answer.content == b""


def test_probes_are_open_and_what_is_nowhere_tells_nothing(locked: Server) -> None:
    assert http_get(f"{locked.url}/health/live").status_code == 200
    assert http_get(f"{locked.url}/health/ready").status_code == 200
    for path in ("/nowhere", "/redoc", "/docs/oauth2-redirect", "/models/a/b/c"):
        assert http_get(f"{locked.url}{path}").status_code == 404


def test_the_document_says_what_is_guarded(locked: Server, server: Server) -> None:
    document = ask(locked, "GET", "/openapi.json", bearer(KEYS["read"])).json()
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            refused = ask(locked, method, path.replace("{id}", "colours"), {}).status_code == 401
            assert refused == ("security" in operation) == ("401" in operation["responses"]), path
            assert refused == ("403" in operation["responses"])
    document = http_get(f"{server.url}/openapi.json").json()
    assert "securitySchemes" not in document["components"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert not any("security" in operation or "401" in operation["responses"] for operation in operations)


@pytest.mark.parametrize(
    "target",
    [
        *("/predict?a=1", "/predict#a", "/predict/", "/predict;a", "/predict%3f", "/predict%00", "/PREDICT"),
        *("/%70redict", "/pr%65dict?", "//predict", "/./predict", "/models/../predict", "http://elsewhere/predict"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "post", "PUT"])
def test_no_way_of_writing_the_address_goes_round_the_key(locked: Server, method: str, target: str) -> None:
    body = json.dumps(BODY).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = raw(locked, head.encode() + body)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer
    assert b"predictions" not in answer


def test_a_key_refused_before_its_body_costs_no_reading(locked: Server) -> None:
    with socket.create_connection(("127.0.0.1", locked.port), timeout=30) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 401 "), "and the body never came"


def test_secrets_and_digests_are_never_logged(locked: Server) -> None:
    for secret in KEYS.values():
        for method, path, _ in ROUTES:
            ask(locked, method, path, bearer(secret))
    ask(locked, "POST", "/predict", bearer("axon_a-guess-that-is-nearly-right"))
    ask(locked, "POST", "/models/refresh", bearer(KEYS["manage"]))
    wait_until(lambda: "manage-only" in locked.log(), locked.log)  # the log has the key's name
    for secret in (*KEYS.values(), "a-guess"):
        assert secret not in locked.log()
        assert hashlib.sha256(secret.encode()).hexdigest() not in locked.log()


def test_keys_come_and_go_with_their_file(tmp_path: Path) -> None:
    publish_all(Store(tmp_path / "store"))
    keys = tmp_path / "keys"
    keys.write_text(entry("read", "old-secret"))
    with running(tmp_path / "store", tmp_path, api_keys_file=keys, api_processes=2) as server:

        def statuses(secret: str) -> set[int]:
            # Each request on a new connection, so that both API processes are asked.
            return {ask(server, "GET", "/models", bearer(secret)).status_code for _ in range(20)}

        assert statuses("old-secret") == {200}
        (tmp_path / "new").write_text(entry("read", "new-secret"))
        (tmp_path / "new").replace(keys)
        wait_until(lambda: statuses("new-secret") == {200}, server.log)
        wait_until(lambda: statuses("old-secret") == {401}, server.log)
        keys.write_text("read-only:read:new-secret")  # the secret instead of its digest
        wait_until(lambda: "API keys not taken in" in server.log(), server.log)
        assert statuses("new-secret") == {200}
        assert "new-secret" not in server.log()


def test_refresh_takes_in_the_store_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    publish_all(store)
    with running(store.root, tmp_path, reload_seconds=3600) as server:
        store.publish("colours", CHECKPOINTS["colours"])
        store.publish("late", CHECKPOINTS["colours"])
        assert {m["name"]: m["version"] for m in http_get(f"{server.url}/models").json()["models"]}["colours"] == 1
        answer = http_post(f"{server.url}/models/refresh")
        assert answer.status_code == 200
        assert {m["name"]: m["version"] for m in answer.json()["models"]} == {
            "colours": 2,
            "late": 1,
            "mixed": 1,
            "price": 1,
        }
        assert answer.json() == http_get(f"{server.url}/models").json()
        for body, version in ((BODY, 2), (BODY | {"model": "late"}, 1)):
            assert http_post(f"{server.url}/predict", json=body).json()["version"] == version
        assert http_get(f"{server.url}/models/refresh").status_code == 404, "to GET, it is a model of that name"


def test_a_server_with_keys_that_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{entry('read', 'a-secret')}\nplain-secret\n")
    server = Server(tmp_path / "store", tmp_path, api_keys_file=keys)
    run = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    server.kill()
    assert run.returncode == 2
    assert f"{keys}, line 3" in run.stderr
    assert "plain-secret" not in run.stderr


def test_an_open_server_on_the_loopback_does_not(server: Server) -> None:
    assert "no API keys are set" not in server.log()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/ready", 200),
        ("GET", "/models", 200),
        ("GET", "/models/nobody", 404),
        ("GET", "/models/colours/summary?format=text", 200),
        ("GET", "/models/colours/summary?format=poem", 422),
        ("DELETE", "/models", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/", 307),
    ],
)
def test_every_answer_has_the_security_headers(server: Server, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{server.url}{path}", verify=False)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (path == "/docs")
    assert "server" not in answer.headers


def test_predictions_and_their_errors_are_not_for_browsers_to_guess_at(server: Server) -> None:
    for body in (BODY, {"model": "<script>alert(1)</script>", "instances": [ROW]}, []):
        answer = http_post(f"{server.url}/predict", json=body)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "json" in answer.headers["content-type"]


def raw(server: Server, request: bytes) -> bytes:
    """Sends bytes that no client library would send; returns the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


HOSTILE = [
    "..",
    "../outside/stolen",
    "../../../../../../etc/passwd",
    "..\\..\\outside",
    "/etc/passwd",
    "//etc/passwd",
    "colours/../../outside/stolen",
    "colours@../../outside/stolen/1",
    "colours@1/../../../outside",
    "colours@-1",
    "colours@0",
    "colours@01",
    "colours@1.0",
    "colours@99999999999999999999",
    "colours@1@1",
    "colours@",
    "colours@ 1",
    "colours@１",
    "colours@٣",
    "@1",
    "@",
    "",
    " ",
    ".",
    ".lock",
    "colours/1/model.safetensors",
    "colours\0",
    "colours\0/../../outside",
    "colours\n",
    "colours\r\nX-Evil: 1",
    "..%2foutside%2fstolen",
    "%2e%2e%2foutside",
    "..%c0%afoutside",
    "．．／outside",
    "cоlours",  # a Cyrillic о
    "colours\u200b",
    "\u202ecolours",
    "é" * 300,
    "a" * 65,
    "a" * 5_000,
    "file:///etc/passwd",
    "C:\\boot.ini",
    "CON",
    "~root",
    "$HOME",
    "{id}",
    "*",
    "colours;cat",
    "'; DROP TABLE models;--",
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose store has links to a valid checkpoint outside and to another file, and a named pipe."""
    folder = tmp_path_factory.mktemp("planted")
    store = Store(folder / "store")
    publish_all(store)
    outside = Store(folder / "outside")
    outside.publish("stolen", CHECKPOINTS["price"])
    (folder / "secret.txt").write_text("the-secret-text")
    for name in ("version", "file", "text", "pipe"):
        store.publish(name, CHECKPOINTS["colours"])
        store.publish(name, CHECKPOINTS["colours"])
    (store.root / "linked").symlink_to(outside.root / "stolen")
    (store.root / "parent").symlink_to("..")
    version = store.version("version", 2).path.parent
    version.rename(folder / "was")
    version.symlink_to(outside.root / "stolen" / "1")
    for name, target in (("file", outside.version("stolen", 1).path), ("text", folder / "secret.txt")):
        store.version(name, 2).path.unlink()
        store.version(name, 2).path.symlink_to(target)
    store.version("pipe", 2).path.unlink()
    os.mkfifo(store.version("pipe", 2).path)
    store.publish("table", CHECKPOINTS["colours"])
    (store.root / "table" / "aliases.json").symlink_to(folder / "secret.txt")
    with running(store.root, folder) as server:
        yield server


@pytest.mark.parametrize("id_", HOSTILE, ids=lambda id_: repr(id_[:40]))
def test_an_id_never_leaves_the_store(planted: Server, id_: str) -> None:
    answers = [http_post(f"{planted.url}/predict", json={"model": id_, "instances": [[80, 3]]})]
    encoded = quote(id_, safe="")
    double = quote(encoded, safe="")
    for path in (encoded, double, f"{encoded}/summary"):
        answer = raw(planted, b"GET /models/%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if id_ and status == 200:  # an empty segment gives the list, or an empty summary
            assert json.loads(body)["name"] == "colours"
        assert b"x-evil" not in head.lower()
        answers.append(httpx.Response(status, content=body))
    for answer in answers:
        assert answer.status_code in (400, 404, 422) or not id_, answer.text
        assert "area" not in answer.text, "a column of the model outside"
        assert "root:" not in answer.text


def test_unencoded_dots_and_odd_bytes_in_the_path_lead_nowhere(planted: Server) -> None:
    for path in (
        b"/models/../../outside/stolen",
        b"/models/..;/outside",
        b"/../../../../etc/passwd",
        b"/models/\xc0\xae\xc0\xae/outside",
        b"/models/%00",
        b"/models/%zz",
        b"/models/colours%00.txt",
        b"//models/../outside",
        b"/docs/../../secret.txt",
        b"/models/" + b"a/" * 2_000,
        b"/models/" + b"%2e%2e%2f" * 1_000,
        b"/models/" + b"a" * 60_000,
        b"http://elsewhere/etc/passwd",
        b"*",
    ):
        answer = raw(planted, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
        assert re.match(rb"HTTP/1.1 4\d\d ", answer), path
        assert b"the-secret-text" not in answer


def test_links_that_lead_out_of_the_store_are_named_and_not_served(planted: Server) -> None:
    listed = http_get(f"{planted.url}/models").json()
    versions = {m["name"]: m["version"] for m in listed["models"]}
    assert [versions[name] for name in (*CHECKPOINTS, "version", "file", "text", "pipe")] == [1] * (
        len(CHECKPOINTS) + 4
    )
    assert not {"linked", "parent", "table"} & set(versions)
    problems = listed["problems"]
    for id_ in ("linked", "parent", "version@2", "file@2", "text@2", "table"):
        assert "out of the store" in problems[id_], problems
    assert "not a regular file" in problems["pipe@2"]
    assert "the-secret-text" not in json.dumps(listed)
    for id_ in ("linked", "linked@1", "linked@latest", "parent", "version@2", "file@2", "text@2", "pipe@2"):
        for answer in (
            http_get(f"{planted.url}/models/{id_}"),
            http_post(f"{planted.url}/predict", json={"model": id_, "instances": [[80, 3]]}),
        ):
            assert answer.status_code == 503, (id_, answer.text)
            assert "area" not in answer.text
    assert "the-secret-text" not in planted.log()
    for model in ("version", "file", "text", "pipe"):
        assert http_post(f"{planted.url}/predict", json={"model": model, "instances": [ROW]}).json()["version"] == 1


def test_a_store_full_of_traps_is_still_published_to_and_read_by_name(planted: Server) -> None:
    store = Store(planted.environment["AXON_STORE"])
    place = store.publish("fresh", CHECKPOINTS["colours"])
    assert place.path.name == CHECKPOINT_FILE
    wait_until(lambda: http_get(f"{planted.url}/models/fresh").status_code == 200, planted.log)
