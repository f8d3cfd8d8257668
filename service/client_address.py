"""The client's address behind proxies: the address from which the outermost trusted proxy got the request.

Each proxy appends the address of the peer that connected to the proxy to `X-Forwarded-For` (or `Forwarded`, RFC 7239).
Entries before those of the trusted proxies came with the request, and a client can write anything there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Literal

_MAX_ENTRY_LENGTH = 512
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]+)', re.IGNORECASE)
_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d{1,5})?")
_HIDDEN = re.compile(r"unknown|_[A-Za-z0-9._-]{1,64}", re.ASCII)  # names that a proxy writes in place of an address


class ClientAddresses:
    """The rule that finds the address of a request's client behind proxies.

    Args:
        trusted_hops: number of proxies, counted from this server, whose entries are trusted; 0 to trust no proxy.
        header: header that these proxies write.
    """

    def __init__(self, *, trusted_hops: int, header: Literal["x-forwarded-for", "forwarded"]) -> None:
        self._hops = trusted_hops
        self._header = header.encode()

    def of(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Returns the client's address, or the peer's if no proxy is trusted or has written an address.

        Args:
            peer: address of the peer that connected to this server; None over a Unix socket.
            headers: headers of the request, with names in lower case.
        """
        if not self._hops:
            return peer
        text = b",".join(value for name, value in headers if name == self._header).decode("latin-1")
        stated = _entry(text, self._hops)
        if stated is None:  # the request did not pass through all proxies
            return peer
        if self._header == b"forwarded":
            found = _FOR.search(stated)
            stated = found[1].strip('"') if found is not None else ""
        return _address(stated) or peer


def _entry(text: str, number: int) -> str | None:
    """Returns the entry with this number, counted from the end, or None if there are fewer entries.

    The list is read from its end, because only the entries of trusted proxies are known to be well-formed. An open
    quote in an earlier entry could otherwise hide these entries.
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
