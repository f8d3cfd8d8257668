"""API keys: accepted and refused requests, invalid key files, and answers that never repeat a key."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError
from serving import ROOT
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope
from structlog.testing import capture_logs

from service.__main__ import main
from service.access import Access, AccessError, Key, Scope, new_key, parse_keys
from service.errors import AccessDenied
from service.http.problems import Problem, problem_of
from service.http.response_headers import SECURITY_HEADERS, WithSecurityHeaders
from service.http.routes.docs import content_policy, docs_router
from service.http.routes.guard import Guard
from service.settings import Settings

DIGEST = hashlib.sha256(b"open sesame").hexdigest()
OTHER = hashlib.sha256(b"something else").hexdigest()


def access_of(*lines: str) -> Access:
    return Access(parse_keys("\n".join(lines), "the test"))


def refused(access: Access, authorization: bytes | None, api_key: bytes | None, scope: Scope) -> Problem:
    with pytest.raises(AccessDenied) as caught:
        access.check(authorization, api_key, scope)
    return problem_of(caught.value)


def test_entries_are_names_scopes_and_digests() -> None:
    keys = parse_keys(f"# ours\n\n  alice:predict,read:{DIGEST}  # laptop\nbob:manage:{OTHER.upper()}\r\n", "file")
    assert keys == {
        hashlib.sha256(b"open sesame").digest(): Key("alice", frozenset({Scope.PREDICT, Scope.READ})),
        hashlib.sha256(b"something else").digest(): Key("bob", frozenset({Scope.MANAGE, Scope.READ})),
    }
    assert parse_keys(f"a:read:{DIGEST} b:read:{OTHER}", "variable").keys() == keys.keys()


@pytest.mark.parametrize(
    "entry",
    [
        "open-sesame",
        f"alice:{DIGEST}",
        f"alice::{DIGEST}",
        f"alice:predict,:{DIGEST}",
        f"alice:Predict:{DIGEST}",
        f"alice:open-sesame:{DIGEST}",
        f":predict:{DIGEST}",
        f"open/sesame:predict:{DIGEST}",
        f"{'a' * 65}:predict:{DIGEST}",
        f"alice:predict:{DIGEST[:-1]}",
        f"alice:predict:{DIGEST}0",
        f"alice:predict:{DIGEST}:x",
        "alice:predict:open-sesame",
        f"alice:predict:{'٣' * 64}",
        f"first:read:{DIGEST}",
        f"another:read:{OTHER}",
        f"alice:predict, read:{DIGEST}",
        "\0",
    ],
)
def test_a_malformed_entry_is_named_by_its_line_and_not_repeated(entry: str) -> None:
    with pytest.raises(AccessError) as caught:
        parse_keys(f"first:predict:{OTHER}\n# fine\n{entry}\n", "/etc/axon/keys")
    said = str(caught.value)
    assert "/etc/axon/keys, line 3" in said
    assert not re.search("sesame|alice|[0-9a-f]{16}", said)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_no_key_at_all_is_an_error_and_no_open_door(text: str) -> None:
    with pytest.raises(AccessError, match="holds no API key"):
        parse_keys(text, "file")


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (b"Bearer open sesame", None),
        (b"bearer open sesame", None),
        (b"BEARER   open sesame ", None),
        (None, b"open sesame"),
        (b"Basic b3BlbjpzZXNhbWU=", b"open sesame"),
    ],
)
def test_a_key_is_presented_in_either_header(authorization: bytes | None, api_key: bytes | None) -> None:
    access = access_of(f"alice:predict:{DIGEST}", f"bob:read:{OTHER}")
    assert access.check(authorization, api_key, Scope.PREDICT) == "alice"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (None, None),
        (b"", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Bearer open sesam", None),
        (b"Bearer open sesame2", None),
        (b"Bearer " + DIGEST.encode(), None),  # the key file has no such key
        (b"Basic open sesame", None),
        (b"open sesame", None),
        (None, b""),
        (None, b"\xff\x00"),
        (None, b"open sesame" * 100_000),
        (b"Bearer open sesame", b"wrong"),  # X-API-Key has precedence
    ],
)
def test_without_a_known_key_it_is_401_with_a_challenge(authorization: bytes | None, api_key: bytes | None) -> None:
    problem = refused(access_of(f"alice:predict:{DIGEST}"), authorization, api_key, Scope.PREDICT)
    assert (problem.status, problem.code) == (401, "unauthenticated")
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"sesame" not in problem.body()


@pytest.mark.parametrize("scope", Scope)
def test_a_key_is_for_its_scopes_alone_and_managing_implies_reading(scope: Scope) -> None:
    access = access_of(f"alice:{scope}:{DIGEST}")
    allowed = {scope, Scope.READ} if scope == Scope.MANAGE else {scope}
    for asked in Scope:
        if asked in allowed:
            assert access.check(None, b"open sesame", asked) == "alice"
        else:
            problem = refused(access, None, b"open sesame", asked)
            assert (problem.status, problem.code) == (403, "forbidden")
            assert f'scope="{asked}"' in problem.headers["WWW-Authenticate"]


def test_a_new_key_is_what_its_entry_says_and_no_two_are_alike() -> None:
    made = dict(new_key("alice", "predict,read") for _ in range(100))
    assert len(made) == 100
    for secret, entry in made.items():
        assert entry == f"alice:predict,read:{hashlib.sha256(secret.encode()).hexdigest()}"
        assert re.fullmatch(r"axon_[A-Za-z0-9_-]{43}", secret), "256 bits, in base64"
        assert access_of(entry).check(b"Bearer " + secret.encode(), None, Scope.READ) == "alice"
    for name, scopes in [("a b", "read"), ("", "read"), ("a:b", "read"), ("a#", "read"), ("a", "write"), ("a", "")]:
        with pytest.raises(AccessError):
            new_key(name, scopes)


def test_a_changed_file_is_taken_in_and_a_spoilt_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:predict:{DIGEST}\n")
    access = Access({}, file)
    file.write_text(f"bob:predict:{OTHER}\n")
    assert access.check(None, b"open sesame", Scope.PREDICT) == "alice", "nobody has looked yet"
    access.refresh()
    assert refused(access, None, b"open sesame", Scope.PREDICT).status == 401
    assert access.check(None, b"something else", Scope.PREDICT) == "bob"

    for spoil in (
        lambda: file.write_bytes(b"carol:predict:my-plain-secret\n"),
        lambda: file.write_bytes(b""),
        lambda: file.write_bytes(b"\xff\xfe\0"),
        lambda: file.write_bytes(b"#" * 2_000_000),
        file.unlink,
        lambda: os.mkfifo(file),
    ):
        spoil()
        with capture_logs() as logged:
            access.refresh()
            access.refresh()
        assert access.check(None, b"something else", Scope.PREDICT) == "bob"
        assert [line["log_level"] for line in logged] == ["error"], "said once"
        assert "my-plain-secret" not in str(logged)
        with pytest.raises(AccessError):  # a process that would go on with older keys
            access.refresh(is_strict=True)
    file.unlink()
    file.write_text(f"alice:manage:{DIGEST}\n")
    access.refresh()
    assert access.check(None, b"open sesame", Scope.MANAGE) == "alice"
    assert access.names == ["alice"]


def test_a_file_overwritten_with_its_size_and_time_kept_is_taken_in(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:predict:{DIGEST}\n")
    access = Access({}, file)
    stat = file.stat()
    with file.open("r+") as opened:
        opened.write(f"carol:predict:{OTHER}\n")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    access.refresh()
    assert access.names == ["carol"]
    assert access.check(None, b"something else", Scope.PREDICT) == "carol"


def test_keys_of_the_file_and_of_the_environment_hold_together(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"bob:read:{OTHER}\n")
    access = Access.from_settings(Settings(api_keys=f"alice:predict:{DIGEST}", api_keys_file=file))  # type: ignore[arg-type]
    assert access is not None
    assert access.names == ["alice", "bob"]
    for line in (f"alice:read:{OTHER}", f"bob:read:{DIGEST}"):
        file.write_text(line)
        with pytest.raises(AccessError, match="AXON_API_KEYS has too"):
            Access.from_settings(Settings(api_keys=f"alice:predict:{DIGEST}", api_keys_file=file))  # type: ignore[arg-type]


def test_without_keys_there_is_nothing_to_check() -> None:
    assert Access.from_settings(Settings()) is None
    assert Guard(None, Scope.READ).dependencies == []
    assert Guard(None, Scope.READ).responses == {}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AXON_API_KEYS", "", "AXON_API_KEYS holds no API key"),
        ("AXON_API_KEYS", "axon_plainsecret", "AXON_API_KEYS, line 1"),
        ("AXON_API_KEYS_FILE", "", "not a regular file"),
        ("AXON_API_KEYS_FILE", "/nowhere/keys", "No such file"),
    ],
)
def test_keys_that_cannot_be_used_end_the_start_with_code_2(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "plainsecret" not in said


def test_settings_show_no_keys_however_they_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AXON_API_KEYS", f"alice:predict:{DIGEST}")
    shown = f"{Settings()!r} {Settings()} {Settings().model_dump()} {Settings().model_dump_json()}"
    assert "alice" not in shown
    monkeypatch.setenv("AXON_TIMEOUT_SECONDS", "301")  # above the maximum, so the combination of settings is invalid
    assert main([]) == 2
    with pytest.raises(ValidationError) as caught:
        Settings()
    said = capsys.readouterr().err
    assert "AXON_MAX_TIMEOUT_SECONDS" in said
    for text in (said, str(caught.value)):
        assert "alice" not in text
        assert DIGEST not in text


def test_the_command_gives_the_secret_once_and_the_line_for_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "new", "--name", "alice", "--scopes", "predict,read"]) == 0
    said = capsys.readouterr()
    secret = said.err.splitlines()[-1]
    assert access_of(said.out).check(b"Bearer " + secret.encode(), None, Scope.READ) == "alice"
    assert secret not in said.out
    assert main(["keys", "new", "--name", "alice", "--scopes", "everything"]) == 2
    assert "predict, read, manage" in capsys.readouterr().err


def test_no_secret_is_shown_whose_line_is_lost() -> None:
    command = [sys.executable, "-m", "service", "keys", "new", "--name", "alice", "--scopes", "predict"]
    with Path("/dev/full").open("w") as full:
        made = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert made.returncode == 2
    assert "cannot be written: No space left on device. No key was made." in made.stderr
    assert "axon_" not in made.stderr
    assert "Traceback" not in made.stderr


class _Page(HTMLParser):
    """The resources that a page loads, and its inline scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: dict[str, list[str]] = {"script": [], "stylesheet": [], "icon": []}
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and given.get("src"):
            self.loads["script"].append(str(given["src"]))
        elif tag == "link":
            self.loads[str(given["rel"]).split()[-1]].append(str(given["href"]))
        self._in_script = tag == "script" and "src" not in given

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


def test_the_documentation_pages_policy_allows_what_the_page_has_and_no_more() -> None:
    [route] = [route for route in docs_router("Axon", dict, Guard(None, Scope.READ)).routes if route.path == "/docs"]  # type: ignore[attr-defined]
    answer = asyncio.run(route.endpoint())  # type: ignore[attr-defined]
    page = _Page(answer.body.decode())
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert page.loads["script"] == ["docs/swagger-ui-bundle.js"], "ours, beside the page"
    assert page.loads["stylesheet"] == ["docs/swagger-ui.css"]
    assert page.scripts
    hashes = [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in page.scripts]
    assert policy["script-src"].split() == ["'self'", *hashes]
    assert policy["style-src"].split() == ["'self'", "'unsafe-inline'"]
    assert page.loads["icon"] == ["data:,"]
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "sha256-" not in content_policy("<html></html>")


def test_security_headers_are_added_where_an_answer_has_none_of_its_own() -> None:
    async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"max-age=1")]})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    asyncio.run(WithSecurityHeaders(app)({"type": "http"}, receive, send))
    expected = [(b"Cache-Control", b"max-age=1"), *(h for h in SECURITY_HEADERS if h[0] != b"cache-control")]
    assert sent[0]["headers"] == expected
