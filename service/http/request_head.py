"""The head of a request: header fields by name, and checks that do not depend on the route.

The lines of a repeated field are joined by a line feed, which no line contains. So a field that may come only once is
not valid with a line feed, and a field that is a list is split at the line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import httptools

from service.http.problems import Problem

Fields = Mapping[bytes, bytes]

# RFC 3986, 3.2.2: an address in brackets or a name, which may be empty; then an optional port.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?")
_MAX_KNOWN_HOSTS = 256
_OLD_VERSIONS = ("1.0", "0.9")
_PROBES = frozenset(
    (b"/health/live", b"/health/ready", b"/metrics", b"/v2/health/live", b"/v2/health/ready", b"/health", b"/ping")
)

#: Values of `Host` that are known to be valid. Nearly every request of a client has the same value.
known_hosts: set[bytes] = set()


def joined_fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Returns the fields by name, with the lines of a repeated field joined by a line feed."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = b"%b\n%b" % (fields[name], value) if name in fields else value
    return fields


def list_items(value: bytes) -> list[bytes]:
    """Returns the items of a field that is a list, in lower case and without empty items."""
    items = (item.strip().lower() for line in value.split(b"\n") for item in line.split(b","))
    return [item for item in items if item]


def plain_path(url: bytes) -> bytes:
    """Returns the path of a request target, without query and host, and with escapes decoded."""
    return unquote_to_bytes(httptools.parse_url(url).path)


def is_probe(method: bytes, url: bytes, root_path: bytes) -> bool:
    """Returns True for a request to a health or metrics endpoint, which a full process must still answer.

    Args:
        method: method of the request.
        url: target of the request.
        root_path: path under which a proxy serves the API, such as `/axon`; empty without such a proxy.
    """
    return method in (b"GET", b"HEAD") and plain_path(url).removeprefix(root_path) in _PROBES


def head_fault(fields: Fields, version: str) -> Problem | None:
    """Returns the fault of a request's head, or None for a valid head.

    Args:
        fields: fields by name in lower case.
        version: HTTP version, such as `1.1`.
    """
    host = fields.get(b"host")
    if host is None:
        if version not in _OLD_VERSIONS:
            return _bad("The request has no Host header.")
    elif host not in known_hosts:
        if b"\n" in host:
            return _bad("The request has more than one Host header.")
        if not _HOST.fullmatch(host):
            return _bad("The Host header is not a host name or an address.")
        if len(known_hosts) >= _MAX_KNOWN_HOSTS:
            known_hosts.clear()
        known_hosts.add(host)
    return _coding_fault(fields, version) if b"transfer-encoding" in fields else None


def _coding_fault(fields: Fields, version: str) -> Problem | None:
    """Returns the fault of a `Transfer-Encoding`, by RFC 9112, 6.1 and 6.3, or None.

    The HTTP parser reads any body whose last coding is `chunked`, and ignores the codings before.
    """
    if version in _OLD_VERSIONS:
        return _bad("HTTP/1.0 has no Transfer-Encoding.")
    *others, last = list_items(fields[b"transfer-encoding"]) or [b""]
    if last != b"chunked" or b"chunked" in others:
        return _bad("Transfer-Encoding does not end with chunked, so the body has no end that can be known.")
    if others:
        detail = "Of the transfer codings, this server reads chunked alone."
        return Problem(HTTPStatus.NOT_IMPLEMENTED, "not-implemented", detail)
    return None


def _bad(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "bad-request", detail)
