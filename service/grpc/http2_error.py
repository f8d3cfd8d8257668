"""Errors of HTTP/2: of one stream, and of a whole connection."""

from __future__ import annotations


class StreamFault(Exception):
    """A request that is not well-formed; its stream is reset."""


class ConnectionFault(Exception):
    """A breach of the protocol, after which a connection cannot go on.

    Args:
        code: error code of HTTP/2.
        reason: sentence for people.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(reason)
