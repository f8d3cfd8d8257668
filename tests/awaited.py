"""A waiter of the batcher that can be awaited."""

from __future__ import annotations

import asyncio

from service.batching.ticket import Answer


class Awaited:
    """Whoever waits for one request's answer."""

    def __init__(self, *, disconnected: bool = False) -> None:
        self.disconnected = disconnected
        self.outcome: asyncio.Future[tuple[Answer, int]] = asyncio.get_running_loop().create_future()

    def answered(self, answer: Answer, start: int) -> None:
        """The answer is there."""
        self.outcome.set_result((answer, start))

    def failed(self, error: Exception) -> None:
        """There will be none."""
        self.outcome.set_exception(error)

    async def values(self, rows: int) -> list[float]:
        """The first column of the request's answers."""
        answer, start = await self.outcome
        values: list[float] = answer.matrix[start : start + rows, 0].tolist()
        return values
