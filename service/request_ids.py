"""Request ids: a valid id from the client, or else a new id of this process."""

from __future__ import annotations

import itertools
import secrets

REQUEST_ID_HEADER = b"x-request-id"
_MAX_LENGTH = 128

_prefix = secrets.token_hex(6).encode()
_count = itertools.count(1)


def renew_request_ids() -> None:
    """Makes a new prefix for the ids of this process, after a fork."""
    global _prefix
    _prefix = secrets.token_hex(6).encode()


def accepted_request_id(given: bytes | None) -> bytes:
    """Returns the client's request id if valid (printable ASCII of at most 128 characters), else a new id."""
    if given and len(given) <= _MAX_LENGTH and given.isascii() and given.decode().isprintable():
        return given
    return b"%b-%x" % (_prefix, next(_count))
