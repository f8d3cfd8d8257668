"""Two ceilings on bare uvicorn: `--fixed` reads the body and sends fixed bytes; else the model is in the handler.

The second validates with Pydantic, predicts with torch and encodes with orjson, without framework, isolation or
batches.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import torch
import uvicorn
from pydantic import BaseModel

from benchmarks.model import make_model, server_arguments

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class PredictRequest(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


if __name__ == "__main__":
    fixed = "--fixed" in sys.argv
    if fixed:
        sys.argv.remove("--fixed")
    arguments = server_arguments()
    torch.set_num_threads(1)
    model = make_model(arguments.model)
    answer = orjson.dumps({"predictions": [0], "probabilities": [[0.5, 0.5]]})

    def predict(body: bytes) -> bytes:
        """Returns the body of the answer to one request."""
        request = PredictRequest.model_validate_json(body)
        with torch.inference_mode():
            probabilities = model(torch.tensor(request.instances)).softmax(-1)
        return orjson.dumps({"predictions": probabilities.argmax(-1).tolist(), "probabilities": probabilities.tolist()})

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handles one request: the ASGI application."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        payload = answer if fixed else predict(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(payload))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    uvicorn.run(
        app,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        lifespan="off",
    )
