"""A file of a web server is scored over requests for ranges, and a server without ranges is refused."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from s3_server import tag
from scored_tables import write

from axon.cli import main
from scoring import bucket_calls


@contextmanager
def web_server(files, *, has_ranges=True, has_tags=True, status=None):
    """Serves contents by path, some without what newer servers have."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self.path)
            content = files.get(unquote(self.path.partition("?")[0]))
            code = status or (404 if content is None else 200)
            content, whole = content or b"", content or b""
            headers = {"ETag": tag(whole)} if has_tags else {"Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            if has_ranges and code == 200 and (wanted := self.headers.get("range")):
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                last = min(int(end), len(whole) - 1)
                content, code = whole[int(start) : last + 1], 206
                headers["Content-Range"] = f"bytes {start}-{last}/{len(whole)}"
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def score(store, source, out, *options):
    given = ["--model", "numbers", "--store", str(store.root), "--out", str(out), "--device", "cpu", "--keep", "id"]
    return main(["score", str(source), *given, *options])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow"])
@pytest.mark.parametrize("has_tags", [True, False])
def test_a_file_of_a_web_server_gives_the_bytes_of_a_disk(store, numbers, tmp_path, suffix, has_tags, capsys):
    path = write(numbers, tmp_path / f"my rows{suffix}")
    assert score(store, path, tmp_path / "out.csv") == 0
    with web_server({f"/a/my rows{suffix}": path.read_bytes()}, has_tags=has_tags) as (url, asked):
        assert score(store, f"{url}/a/my%20rows{suffix}?sig=secret", tmp_path / "web.csv") == 0
        assert all(path.endswith("?sig=secret") for path in asked)
    assert (tmp_path / "web.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert "secret" not in capsys.readouterr().err + (tmp_path / "web.csv.axon/manifest.json").read_text()


def test_what_a_web_server_cannot_do_is_said(store, numbers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bucket_calls, "_WAITS_SECONDS", ())
    content = write(numbers, tmp_path / "rows.csv").read_bytes()
    with web_server({"/rows.csv": content}, has_ranges=False) as (url, _):
        assert score(store, f"{url}/rows.csv?sig=secret", tmp_path / "out") == 2
        message = capsys.readouterr().err
        assert f"{url}/rows.csv: the server does not answer requests for a range of bytes: download" in message
        assert score(store, f"{url}/none.csv", tmp_path / "out") == 2
        assert f"there is no file {url}/none.csv" in capsys.readouterr().err
        assert score(store, f"{url}/folder/", tmp_path / "out") == 2
        assert "a web server cannot be listed: name one file" in capsys.readouterr().err
    with web_server({"/rows.csv": content}, status=403) as (url, _):
        assert score(store, f"{url}/rows.csv?sig=secret", tmp_path / "out") == os.EX_TEMPFAIL
        assert f"error: {url}: the server refuses these credentials" in capsys.readouterr().err


def test_a_file_that_changes_on_a_web_server_is_refused(store, numbers, tmp_path, capsys):
    content = write(numbers, tmp_path / "rows.parquet", row_group_size=5_000).read_bytes()

    class Files(dict):
        """Files of which one changes after four requests."""

        def get(self, path):
            return content[:-9] + bytes(9) if len(asked) > 4 else content

    # The server ignores If-Match, so the ETag of each answer is compared.
    with web_server(Files()) as (url, asked):
        assert score(store, f"{url}/rows.parquet", tmp_path / "out", "--part-rows", "5000") == 2
    assert f"{url}/rows.parquet changed while it was read" in capsys.readouterr().err
