"""A ticket of the batcher that can be awaited."""

from __future__ import annotations

import asyncio

from service.batching.ticket import Answer, Ticket


class Awaited(Ticket):
    """A request whose answer is awaited.

    Args:
        disconnected: True if the client has gone.
    """

    disconnected = False

    def __init__(self, *, disconnected: bool = False) -> None:
        super().__init__()
        self.disconnected = disconnected
        self.outcome: asyncio.Future[tuple[Answer, int]] = asyncio.get_running_loop().create_future()

    def answered(self, answer: Answer, start: int) -> None:
        """Resolves the outcome."""
        self.outcome.set_result((answer, start))

    def failed(self, error: Exception) -> None:
        """Resolves the outcome with an error."""
        self.outcome.set_exception(error)

    async def values(self, rows: int) -> list[float]:
        """Returns the first column of the answers to the request's rows."""
        answer, start = await self.outcome
        values: list[float] = answer.matrix[start : start + rows, 0].tolist()
        return values
