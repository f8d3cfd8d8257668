"""The console's files over HTTP: who gets the page, which headers, how large, and nothing from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import Server, http_get, make_store, running

from models.store import Store
from service.console.files import FOLDER, read_files, read_page

PAGE = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}  # as browsers send
MOST_BYTES = 45_000
# SHA-256 of the files in the npm packages; they are copied unchanged.
VENDORED = {
    "preact.js": (
        "htm 3.1.1, preact/standalone.module.js",
        "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
    ),
}
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def served(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store.root, tmp_path_factory.mktemp("console")) as server:
        yield server


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain", "", "text/html2"])
def test_programs_that_ask_for_the_start_are_sent_to_the_documentation(served: Server, accept: str) -> None:
    answer = http_get(f"{served.url}/", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["location"]) == (307, "docs")
    assert "Accept" in answer.headers["vary"]


def test_a_browser_gets_the_page_and_all_that_the_page_names(served: Server) -> None:
    page = http_get(f"{served.url}/", headers=PAGE)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert "console/app.js" in named
    for address in named:
        assert http_get(str(page.url.join(address))).status_code == 200, address


def assert_same_code(name: str, served: str) -> None:
    """Fails unless a served file has all lines of its source in order, but for indentation and lines of comments."""
    source = (FOLDER / name).read_text(encoding="utf-8")
    if not name.endswith((".js", ".css")) or "vendor" in name:
        assert served == source
        return
    lines = iter(line.lstrip() for line in source.splitlines())
    for line in served.splitlines():
        for left_out in iter(lambda: next(lines), line):
            assert left_out.startswith(("//", "/*", "*")) or not left_out, left_out
    assert all(line.startswith(("//", "/*", "*")) or not line for line in lines)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js") and "vendor" not in name])
def test_no_comment_or_indentation_is_sent(name: str) -> None:
    served = read_files()[name].content.decode()
    assert not re.search(r"^(\s|//|/\*|\*)", served, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_each_file_comes_with_its_type_and_policy_and_only_once(served: Server, name: str) -> None:
    url = f"{served.url}/" if name == "index.html" else f"{served.url}/console/{name}"
    answer = http_get(url, headers=PAGE)
    assert answer.status_code == 200
    assert_same_code(name, answer.text)
    assert answer.headers["content-encoding"] == "gzip"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = http_get(url, headers=PAGE | {"If-None-Match": f'"x", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    plain = http_get(url, headers=PAGE | {"Accept-Encoding": "identity"})
    assert plain.content == answer.content
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize(
    "path", ["console/none.js", "console/../settings.py", "console/%2e%2e/files.py", "console/views"]
)
def test_other_paths_are_not_found(served: Server, path: str) -> None:
    answer = httpx.get(httpx.URL(served.url).copy_with(raw_path=f"/{path}".encode()), verify=False)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["console", "console/"])
def test_the_folder_leads_to_the_page(served: Server, path: str) -> None:
    answer = http_get(f"{served.url}/{path}", headers=PAGE, follow_redirects=True)
    assert str(answer.url) == f"{served.url}/"
    assert "console/app.js" in answer.text


def test_the_console_can_be_switched_off(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, console="off") as server:
        answer = http_get(f"{server.url}/", headers=PAGE)
        assert (answer.status_code, answer.headers["location"]) == (307, "docs")
        assert http_get(f"{server.url}/console/app.js").status_code == 404


def test_under_a_prefix_and_with_keys_the_page_says_so(store: Store, tmp_path: Path) -> None:
    keys = f"reader:read:{hashlib.sha256(b'axon_secret').hexdigest()}"
    with running(store.root, tmp_path, root_path="/axon", api_keys=keys) as server:
        for place in ("", "/", "/axon", "/axon/"):
            page = http_get(f"{server.url}{place}", headers=PAGE).text
            assert '<base href="/axon/">' in page
            assert 'data-keys="needed"' in page
        assert http_get(f"{server.url}/axon/console/app.js").status_code == 200, "the files are public"
        assert http_get(f"{server.url}/axon/models").status_code == 401, "the API is not"


def test_the_vendored_files_are_those_of_their_packages() -> None:
    vendored = {path.name for path in (FOLDER / "vendor").glob("*.js")}
    assert vendored == VENDORED.keys()
    for name, (source, digest) in VENDORED.items():
        assert hashlib.sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest, source


SERVED = {**read_files(), "index.html": read_page("", needs_key=False)}


def compressed(*names: str) -> int:
    return sum(len(gzip.compress(SERVED[name].content, 9, mtime=0)) for name in names)


FIRST = ("app.js", "theme.js", "style.css", "icon.svg", "index.html")


def loaded(*begin: str) -> set[str]:
    """Returns the files that a browser loads with some others, by their imports."""
    found: set[str] = set()
    waiting = list(begin)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            names = re.findall(r"^import (?:.*?from )?'(\.[^']+)'", (FOLDER / name).read_text(), re.MULTILINE)
            folder = (FOLDER / name).parent
            waiting += [str(folder.joinpath(one).resolve().relative_to(FOLDER)) for one in names]
    return found


def test_the_first_view_is_small() -> None:
    first = loaded(*FIRST)
    assert {"vendor/preact.js", "lib/api.js", "views/models.js"} <= first
    assert compressed(*first) < MOST_BYTES / 2


@pytest.mark.parametrize("view", [name for name in FILES if name.startswith("views/") and name.endswith(".js")])
def test_each_view_with_all_that_a_browser_loads_for_it_is_small(view: str) -> None:
    files = loaded(*FIRST, view) | {name for name in FILES if name.endswith(".css")}
    assert compressed(*files) < MOST_BYTES


@pytest.mark.parametrize("name", [name for name in FILES if "vendor" not in name])
def test_no_file_reads_texts_as_markup_or_names_another_host(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "dangerouslySetInnerHTML",
        "document.write",
        "eval(",
    ):
        assert forbidden not in text
    hosts = set(re.findall(r"(?:https?:)?//([a-z0-9-]+\.[a-z0-9.]+)", text))
    assert hosts <= {"www.w3.org"}, "the namespace of SVG is a name"
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text), "nothing inline"
