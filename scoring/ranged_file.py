"""Files over requests for ranges: one that is read at any place by a plan, and one that is read forward."""

from __future__ import annotations

import io
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future

from scoring.range_plan import BLOCK_BYTES, RangePlan

Fetch = Callable[[int, int], memoryview]

_LOOSE_BLOCKS = 4  # of bytes that no plan has, such as the heads of an Arrow file's batches
_FORWARD_BLOCKS = 6  # on the way while one is read
_FIRST_FORWARD_BYTES = 1 << 18  # whoever reads the names of the columns alone gets no more


class RangedFile(io.RawIOBase):
    """A file that is read at any place.

    Bytes of the plan come in its blocks, which are requested ahead of their need. Other bytes come in blocks that begin
    where the read begins. One thread at a time reads.

    Args:
        fetch: function that brings a range of the file.
        size: length of the file in bytes.
        pool: threads for requests ahead.
        loose_bytes: least number of bytes of a request outside the plan.
    """

    def __init__(self, fetch: Fetch, size: int, pool: Executor, *, loose_bytes: int) -> None:
        self._fetch = fetch
        self._size = size
        self._pool = pool
        self._loose_bytes = loose_bytes
        self._place = 0
        self._plan = RangePlan()
        self._blocks: OrderedDict[int, Future[memoryview]] = OrderedDict()  # by number, least recently read first
        self._held = 0  # bytes of the blocks
        self._read: dict[int, int] = {}  # bytes read of each block
        self._unread: set[int] = set()  # numbers of blocks that were requested ahead
        self._unread_bytes = 0
        self._requested: set[int] = set()  # numbers of blocks that were requested at some time
        self._next = 0  # number of the block that is requested ahead next
        self._loose: deque[tuple[int, memoryview]] = deque(maxlen=_LOOSE_BLOCKS)

    def keep(self, start: int, content: memoryview) -> None:
        """Adds bytes that are known already, such as the end of the file."""
        self._loose.append((start, content))

    def follow(self, plan: RangePlan) -> None:
        """Sets the plan of what will be read."""
        self._drop()
        self._plan = plan
        self._ahead()

    def readable(self) -> bool:
        """Returns True: the file can be read."""
        return True

    def seekable(self) -> bool:
        """Returns True: the file can be read at any place."""
        return True

    def tell(self) -> int:
        """Returns the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets the place of the next byte."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Returns the next `size` bytes, fewer at the end of the file alone."""
        end = self._size if size is None or size < 0 else min(self._place + size, self._size)
        pieces: list[memoryview] = []
        while self._place < end:
            piece = self._piece(self._place, end)
            pieces.append(piece)
            self._place += len(piece)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Drops the blocks, and the requests that have not begun."""
        self._drop()
        self._loose.clear()
        super().close()

    def _piece(self, start: int, end: int) -> memoryview:
        """Returns bytes from `start` on, at least one, and none from `end` on."""
        number = self._plan.find(start)
        if number is not None:
            first = self._plan.blocks[number][0]
            piece = self._block(number)[start - first : end - first]
            self._read[number] = self._read.get(number, 0) + len(piece)
            return piece
        for first, content in self._loose:
            if first <= start < first + len(content):
                return content[start - first : end - first]
        stop = min(max(end, start + self._loose_bytes), start + BLOCK_BYTES, self._size)
        planned = self._plan.next_start(start)
        content = self._fetch(start, stop if planned is None else min(stop, planned))
        self.keep(start, content)
        return content[: end - start]

    def _block(self, number: int) -> memoryview:
        begun = self._blocks.get(number)
        if begun is None:
            begun = Future()
            begun.set_result(self._fetch(*self._plan.blocks[number]))
            self._add(number, begun)
            self._requested.add(number)
        elif number in self._unread:
            self._unread.discard(number)
            self._unread_bytes -= self._length(number)
            self._ahead()
        self._blocks.move_to_end(number)
        self._shrink()
        return begun.result()

    def _ahead(self) -> None:
        """Requests the next blocks of the plan, as long as what nobody has read yet is half of the memory at most."""
        blocks = self._plan.blocks
        while self._next < len(blocks):
            number, length = self._next, self._length(self._next)
            if self._unread_bytes + length > self._plan.held_bytes // 2:
                return
            self._next += 1
            if number not in self._requested:
                self._requested.add(number)
                self._add(number, self._pool.submit(self._fetch, *blocks[number]))
                self._unread.add(number)
                self._unread_bytes += length

    def _add(self, number: int, begun: Future[memoryview]) -> None:
        self._blocks[number] = begun
        self._held += self._length(number)

    def _shrink(self) -> None:
        """Drops blocks of which all bytes were read, and beyond the bound of the memory those that were read long ago.

        The order of the reads alone would not do: the block that a column has just left was read later than those
        that the other columns are at.
        """
        bound = self._plan.held_bytes
        if self._held <= bound // 2:
            return
        candidates = list(self._blocks)[:-1]
        finished = [number for number in candidates if self._read.get(number, 0) >= self._length(number)]
        for number in finished:
            self._remove(number)
        for number in candidates:
            if self._held <= bound:
                return
            if number in self._blocks and number not in self._unread:
                self._remove(number)

    def _remove(self, number: int) -> None:
        del self._blocks[number]
        self._held -= self._length(number)

    def _length(self, number: int) -> int:
        start, end = self._plan.blocks[number]
        return end - start

    def _drop(self) -> None:
        for begun in self._blocks.values():
            begun.cancel()
        self._blocks.clear()
        self._unread.clear()
        self._requested.clear()
        self._read.clear()
        self._unread_bytes = self._next = self._held = 0


class ForwardFile(io.RawIOBase):
    """A file that is read from the beginning to the end, several blocks ahead.

    Args:
        fetch: function that brings a range of the file.
        size: length of the file in bytes.
        pool: threads for requests ahead.
    """

    def __init__(self, fetch: Fetch, size: int, pool: Executor) -> None:
        self._fetch = fetch
        self._size = size
        self._pool = pool
        self._place = 0
        self._requested = 0
        self._block_bytes = _FIRST_FORWARD_BYTES
        self._ahead: deque[Future[memoryview]] = deque()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Returns True: the file can be read."""
        return True

    def tell(self) -> int:
        """Returns the place of the next byte."""
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Returns the next `size` bytes, fewer at the end of the file alone."""
        wanted = self._size - self._place if size is None or size < 0 else min(size, self._size - self._place)
        pieces: list[memoryview] = []
        while wanted > 0:
            if not self._rest:
                self._rest = self._next_block()
            pieces.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            self._place += len(pieces[-1])
            wanted -= len(pieces[-1])
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Drops the blocks, and the requests that have not begun."""
        for begun in self._ahead:
            begun.cancel()
        self._ahead.clear()
        self._rest = memoryview(b"")
        super().close()

    def _next_block(self) -> memoryview:
        wanted = 1 if self._block_bytes < BLOCK_BYTES else _FORWARD_BLOCKS
        while len(self._ahead) < wanted and self._requested < self._size:
            end = min(self._requested + self._block_bytes, self._size)
            self._ahead.append(self._pool.submit(self._fetch, self._requested, end))
            self._requested = end
            self._block_bytes = min(4 * self._block_bytes, BLOCK_BYTES)
        return self._ahead.popleft().result()
