"""A small server of S3's protocol in this process: enough for obstore, with counted requests and faults on demand."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

Fault = Literal["slow", "500", "403", "cut", "half", "lost"]

SLOW_SECONDS = 0.1
_PAGE_KEYS = 1000


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: method of the request.
        key: bucket and key of the object.
        query: names in the query.
        sent: number of bytes of the answer's body.
    """

    method: str
    key: str
    query: frozenset[str]
    sent: int


class S3Server:
    """A server of S3's protocol for the length of a `with` block. Buckets need not be made.

    Attributes:
        objects: content by bucket and key, such as `rows/2026/a.csv`.
        requests: requests that were answered.
        fault: function that returns the fault of a request by method and key; None for a true answer. `lost` does
            what was asked for and answers nothing.
        most_at_once: largest number of requests that were open at the same time.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.fault: Callable[[str, str], Fault | None] = lambda _method, _key: None
        self.most_at_once = 0
        self.lock = threading.RLock()
        self._open = 0
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which obstore finds the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "a-secret-that-no-text-may-have",
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> S3Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def below(self, folder: str) -> dict[str, bytes]:
        """Returns the objects below a folder, by their keys in the folder."""
        with self.lock:
            prefix = f"{folder}/"
            return {key.removeprefix(prefix): data for key, data in self.objects.items() if key.startswith(prefix)}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts open requests."""
        with self.lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self.lock:
                self._open -= 1

    def upload(self, query: dict[str, list[str]], key: str, body: bytes, method: str) -> str:
        """Answers the requests of an upload in parts."""
        with self.lock:
            if "uploads" in query:
                name = f"u{len(self._uploads)}"
                self._uploads[name] = {}
                return f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            name = query["uploadId"][0]
            if method == "PUT":
                self._uploads[name][int(query["partNumber"][0])] = body
                return ""
            parts = self._uploads.pop(name)
            if method == "POST":
                self.objects[key] = b"".join(parts[number] for number in sorted(parts))
                found = tag(self.objects[key])
                return f"<CompleteMultipartUploadResult><ETag>{found}</ETag></CompleteMultipartUploadResult>"
            return ""

    def page(self, bucket: str, query: dict[str, list[str]]) -> str:
        """Answers a listing."""
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = query.get("continuation-token", [""])[0]
        with self.lock:
            keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
            page, rest = keys[:_PAGE_KEYS], keys[_PAGE_KEYS:]
            listed = "".join(
                f"<Contents><Key>{escape(key.partition('/')[2])}</Key><LastModified>2026-01-01T00:00:00.000Z"
                f"</LastModified><ETag>{escape(tag(self.objects[key]))}</ETag><Size>{len(self.objects[key])}</Size>"
                "</Contents>"
                for key in page
            )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        is_cut = "true" if rest else "false"
        return f"<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>{listed}{more}</ListBucketResult>"


@functools.lru_cache(maxsize=64)  # of large contents
def tag(content: bytes) -> str:
    """Returns the ETag of a content."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            with server.counted(), contextlib.suppress(OSError):
                self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            key = unquote(parts.path).strip("/")
            query = parse_qs(parts.query, keep_blank_values=True)
            fault = server.fault(self.command, key)
            self._lost = fault == "lost"
            self._half = fault == "half"
            self._key, self._query = key, frozenset(query)
            if fault == "cut":
                self.close_connection = True
            elif fault in ("500", "403"):
                self._send(int(fault), b"<Error><Code>Sorry</Code><Message>AKIA-in-the-body</Message></Error>")
            else:
                if fault == "slow":
                    time.sleep(SLOW_SECONDS)
                self._act(key, query, body)

        def _act(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
            if "list-type" in query:
                self._send(200, server.page(key, query).encode())
            elif "delete" in query:
                names = [found.text for found in ElementTree.fromstring(body).iter() if found.tag.endswith("Key")]
                with server.lock:
                    for name in names:
                        server.objects.pop(f"{key}/{name}", None)
                gone = "".join(f"<Deleted><Key>{escape(name or '')}</Key></Deleted>" for name in names)
                self._send(200, f"<DeleteResult>{gone}</DeleteResult>".encode())
            elif {"uploads", "uploadId"} & query.keys():
                self._send(200, server.upload(query, key, body, self.command).encode(), {"ETag": tag(body)})
            elif self.command == "PUT":
                with server.lock:
                    is_free = key not in server.objects or self.headers.get("if-none-match") != "*"
                    if is_free:
                        server.objects[key] = body
                self._send(200 if is_free else 412, b"", {"ETag": tag(body)})
            elif self.command == "DELETE":
                server.objects.pop(key, None)
                self._send(204, b"")
            else:
                self._get(key)

        def _get(self, key: str) -> None:
            content = server.objects.get(key)
            if content is None:
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            headers = {"ETag": tag(content), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            wanted = self.headers.get("if-match")
            if wanted is not None and wanted != headers["ETag"]:
                self._send(412, b"")
            elif (asked := self.headers.get("range")) is not None:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last or len(content)), len(content) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                self._send(206, content[start : end + 1], headers)
            else:
                self._send(200, content, headers)

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            with server.lock:
                server.requests.append(Request(self.command, self._key, self._query, len(content)))
            if self._lost:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if self._half else content)
            self.close_connection = self.close_connection or self._half

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    return Handler
