"""The client's address comes only from trusted proxies; a client's own forwarding headers have no effect."""

from __future__ import annotations

from typing import Literal

import pytest

from service.client_address import ClientAddresses

PEER = "10.0.0.9"


def client(hops: int, *values: str, header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for") -> str | None:
    headers = [(b"host", b"x"), *((header.encode(), value.encode("latin-1")) for value in values)]
    return ClientAddresses(trusted_hops=hops, header=header).of(PEER, headers)


def test_nobody_is_believed_by_default() -> None:
    assert client(0, "203.0.113.7") == PEER


@pytest.mark.parametrize(
    ("hops", "values", "address"),
    [
        (1, ["203.0.113.7"], "203.0.113.7"),
        (1, ["6.6.6.6, 203.0.113.7"], "203.0.113.7"),  # the client invented the first one
        (1, ["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
        (2, ["6.6.6.6, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (2, ["203.0.113.7"], PEER),  # the request bypassed one of the two proxies
        (1, [], PEER),
        (1, [""], PEER),
        (1, ["203.0.113.7:4711"], "203.0.113.7"),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (1, ["<script>"], PEER),
        (1, ["x" * 5000], PEER),
        (1, ['"], "a": "b'], PEER),
        (1, ["unknown"], "unknown"),
    ],
)
def test_x_forwarded_for(hops: int, values: list[str], address: str) -> None:
    assert client(hops, *values) == address


@pytest.mark.parametrize(
    ("hops", "values", "address"),
    [
        (1, ["for=203.0.113.7"], "203.0.113.7"),
        (1, ["for=6.6.6.6, For=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7"),
        (1, ['by="a,b";for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (1, ['for="6.6.6.6, for=7.7.7.7", for=203.0.113.7'], "203.0.113.7"),
        (2, ["for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
        (1, ["for=_hidden"], "_hidden"),
        (1, ["proto=https"], PEER),
        (1, ['for="'], PEER),
        (1, ['for=6.6.6.6;x="', "for=203.0.113.7"], "203.0.113.7"),  # an unclosed quote
        (2, ['for=6.6.6.6;x="', "for=203.0.113.7, for=10.0.0.2"], "203.0.113.7"),
        (1, ['"\\' * 20_000, "for=203.0.113.7"], "203.0.113.7"),
        (1, ['"\\' * 20_000], PEER),
    ],
)
def test_forwarded(hops: int, values: list[str], address: str) -> None:
    assert client(hops, *values, header="forwarded") == address


def test_the_other_header_counts_for_nothing() -> None:
    clients = ClientAddresses(trusted_hops=1, header="x-forwarded-for")
    assert clients.of(PEER, [(b"forwarded", b"for=6.6.6.6"), (b"x-real-ip", b"6.6.6.6")]) == PEER
