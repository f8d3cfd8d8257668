"""Whose request it is, where proxies stand between: the address that the outermost trusted one of them saw.

Each proxy appends the address of whoever connected to it to `X-Forwarded-For` (or `Forwarded`, RFC 7239). What stands
before the entries of the trusted proxies came with the request, and anybody can write anything there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal

_MAX_ENTRY_LENGTH = 512
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)', re.IGNORECASE)
_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d{1,5})?")
_HIDDEN = re.compile(r"unknown|_[A-Za-z0-9._-]{1,64}", re.ASCII)  # what a proxy says in place of an address


class ClientAddresses:
    """Tells the client's address of a request.

    Args:
        trusted_hops: number of proxies, counted from this server, whose entries are believed; 0 to believe nobody.
        header: the header that these proxies write.
    """

    def __init__(self, *, trusted_hops: int, header: Literal["x-forwarded-for", "forwarded"]) -> None:
        self._hops = trusted_hops
        self._header = header.encode()

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Returns the address; the peer's own where proxies are not trusted, or did not say.

        Args:
            peer: address of whoever connected to this server; None over a Unix socket.
            headers: headers of the request, their names in lower case.
        """
        if not self._hops:
            return peer
        text = b",".join(value for name, value in headers if name == self._header).decode("latin-1")
        told = _entry(text, self._hops)
        if told is None:  # it did not come through all of them
            return peer
        if self._header == b"forwarded":
            found = _FOR.search(told)
            told = found[1].strip('"') if found is not None else ""
        return _address(told) or peer


def _entry(text: str, number: int) -> str | None:
    """Returns an entry of a list with commas, counted from its end; None where there are fewer.

    It is read from the end: what trusted proxies wrote is well-formed, and what stands before it is not looked at. An
    open quote there could swallow their entries.
    """
    end, found, is_quoted = len(text), 0, False
    for at in range(len(text) - 1, max(0, len(text) - number * _MAX_ENTRY_LENGTH) - 1, -1):
        if text[at] == '"':
            is_quoted = not is_quoted
        elif text[at] == "," and not is_quoted:
            found += 1
            if found == number:
                return text[at + 1 : end].strip()
            end = at
    is_whole = len(text) <= number * _MAX_ENTRY_LENGTH
    return text[:end].strip() if is_whole and found + 1 == number and text else None


def _address(text: str) -> str | None:
    if _HIDDEN.fullmatch(text):
        return text
    found = _PORT.fullmatch(text)
    bare = found[1].strip("[]") if found is not None else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None
