"""A request's head as a table of fields, and what is wrong with it before anybody asks what it wants.

A field that came in several lines has them joined by a line feed, which no line holds: a field that may come once is
not valid then, and one that is a list is split at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import httptools

from service.http.problems import Problem

Fields = Mapping[bytes, bytes]

# RFC 3986, 3.2.2: an address in brackets or a name, which may be empty; then perhaps a port.
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?")
_MAX_KNOWN_HOSTS = 256
_OLD_VERSIONS = ("1.0", "0.9")
_PROBES = (b"/health/live", b"/health/ready", b"/metrics")

#: Values of `Host` that are known to be valid. Nearly every request of a client brings the same one.
known_hosts: set[bytes] = set()


def joined_fields(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Returns the fields by name, the lines of a repeated field joined by a line feed."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = b"%b\n%b" % (fields[name], value) if name in fields else value
    return fields


def list_items(value: bytes) -> list[bytes]:
    """Returns the members of a field that is a list, in lower case and without empty ones."""
    items = (item.strip().lower() for line in value.split(b"\n") for item in line.split(b","))
    return [item for item in items if item]


def plain_path(url: bytes) -> bytes:
    """Returns the path of a request target that has a query, a host or escapes in it."""
    return unquote_to_bytes(httptools.parse_url(url).path)


def is_probe(method: bytes, url: bytes, root_path: bytes) -> bool:
    """Returns True if a request asks how the process is, which has to be answered above all when it is full.

    Args:
        method: request's method.
        url: request's target.
        root_path: path of a proxy that may stand before ours, such as `/axon`; empty where there is none.
    """
    return method in (b"GET", b"HEAD") and plain_path(url).removeprefix(root_path) in _PROBES


def head_fault(fields: Fields, version: str) -> Problem | None:
    """Returns what makes a request's head invalid, or None.

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
    """RFC 9112, 6.1 and 6.3. The parser reads each body whose last coding is `chunked`, whatever was applied before."""
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
