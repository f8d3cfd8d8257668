"""A thread that makes documents about checkpoints one after the other; the most recent ones are kept as JSON."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from pydantic import BaseModel

from service.batching.store_reader import StoreReader
from service.errors import ModelUnavailable

_MOST_SECONDS = 30.0  # after which a client is told that the disk, or the network's size, takes too long
_KEPT_BYTES = 4 << 20


class DocumentThread:
    """A thread for documents, so that neither a slow disk nor a large network stops the event loop.

    Args:
        kept_bytes: largest number of bytes of all kept documents.
    """

    def __init__(self, kept_bytes: int = _KEPT_BYTES) -> None:
        self._reader = StoreReader()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._free_bytes = kept_bytes

    async def make(self, what: str, call: Callable[[], BaseModel]) -> bytes:
        """Returns a document as JSON.

        Args:
            what: name of the document's model version, for an error.
            call: function that makes the document; runs in the thread.

        Raises:
            ModelUnavailable: the document took too long.
        """
        return await self._run(what, lambda: _json(call))

    async def kept(self, key: str, what: str, call: Callable[[], BaseModel]) -> bytes:
        """Returns a document as JSON, which is made once and kept while there is room.

        Args:
            key: key of the model version.
            what: name of the document's model version, for an error.
            call: function that makes the document; runs in the thread.

        Raises:
            ModelUnavailable: the document took too long.
        """
        known = self._kept.get(key)
        return known if known is not None else await self._run(what, lambda: self._made_once(key, call))

    async def _run(self, what: str, call: Callable[[], bytes]) -> bytes:
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                return await self._reader.run(call)
        except TimeoutError:
            raise ModelUnavailable(f"{what} was not read within {_MOST_SECONDS:g} s: try again later.") from None

    def _made_once(self, key: str, call: Callable[[], BaseModel]) -> bytes:
        """Returns the document of an earlier request, or else makes one; runs in the thread."""
        known = self._kept.pop(key, None)
        document = _json(call) if known is None else known
        self._free_bytes += 0 if known is None else len(known)
        self._kept[key] = document
        self._free_bytes -= len(document)
        while self._free_bytes < 0 and self._kept:
            self._free_bytes += len(self._kept.popitem(last=False)[1])  # the oldest one
        return document


def _json(call: Callable[[], BaseModel]) -> bytes:
    return call().model_dump_json().encode()
