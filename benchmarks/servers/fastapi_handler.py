"""FastAPI with the model in the handler: the server that a team writes by hand in an afternoon."""

from __future__ import annotations

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.model import make_model, server_arguments


class PredictRequest(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


class PredictResponse(BaseModel):
    """The body of an answer: classes and their probabilities."""

    predictions: list[int]
    probabilities: list[list[float]]


if __name__ == "__main__":
    arguments = server_arguments()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    model = make_model(arguments.model).to(device)
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: PredictRequest) -> PredictResponse:
        """Computes the classes and probabilities of the rows."""
        with torch.inference_mode():
            probabilities = model(torch.tensor(request.instances, device=device)).softmax(-1).cpu()
        return PredictResponse(predictions=probabilities.argmax(-1).tolist(), probabilities=probabilities.tolist())

    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
