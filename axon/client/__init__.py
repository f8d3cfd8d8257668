"""A client of an Axon server, for programs: `Client` waits for each answer, and `AsyncClient` is for asyncio.

    import axon

    with axon.Client("http://localhost:8000") as client:
        answer = client.predict({"sepal_length": 5.1, …}, model="iris")
        answer.predictions, answer.probabilities

The package needs httpx and NumPy. It imports neither torch nor the service nor training.
"""

from __future__ import annotations

from axon.client.answer import Answer
from axon.client.asynchronous import AsyncClient
from axon.client.errors import (
    ClientError,
    DeadlinePassed,
    Forbidden,
    ModelUnknown,
    NotReachable,
    Overloaded,
    RequestRefused,
    RowsRefused,
    ServerFailed,
    TooLarge,
    Unauthenticated,
)
from axon.client.synchronous import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ClientError",
    "DeadlinePassed",
    "Forbidden",
    "ModelUnknown",
    "NotReachable",
    "Overloaded",
    "RequestRefused",
    "RowsRefused",
    "ServerFailed",
    "TooLarge",
    "Unauthenticated",
]
