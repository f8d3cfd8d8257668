"""Request ids: the client's own where it sends one that can be kept, else one of this process's."""

from __future__ import annotations

import itertools
import secrets

REQUEST_ID_HEADER = b"x-request-id"
_MAX_LENGTH = 128

_prefix = secrets.token_hex(6).encode()
_count = itertools.count(1)


def renew_request_ids() -> None:
    """A prefix of this process's own, after a fork."""
    global _prefix
    _prefix = secrets.token_hex(6).encode()


def accepted_request_id(given: bytes | None) -> bytes:
    """The client's request id where it is one (printable ASCII of at most 128 characters), else a new one."""
    if given and len(given) <= _MAX_LENGTH and given.isascii() and given.decode().isprintable():
        return given
    return b"%b-%x" % (_prefix, next(_count))
