"""LitServe as documented: a typed request, and batches of up to 64 gathered for 2 ms."""

import litserve
import torch
from pydantic import BaseModel

from benchmarks.model import make_model, server_arguments


class PredictRequest(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


class MLPAPI(litserve.LitAPI):
    """LitServe's hooks."""

    def setup(self, device: str) -> None:
        """Loads the model."""
        torch.set_num_threads(1)
        self.model = make_model(self.model_name).to(device)

    def decode_request(self, request: PredictRequest) -> torch.Tensor:
        """Returns the rows as a tensor."""
        return torch.tensor(request.instances)

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Joins the rows of several requests."""
        self.rows = [len(x) for x in inputs]
        return torch.cat(inputs).to(self.device)

    @torch.inference_mode()
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Computes probabilities."""
        return self.model(x).softmax(-1).cpu()

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        """Splits a batch's answers by request."""
        return list(output.split(self.rows))

    def encode_response(self, output: torch.Tensor) -> dict:
        """Returns the classes and their probabilities."""
        return {"predictions": output.argmax(-1).tolist(), "probabilities": output.tolist()}


if __name__ == "__main__":
    arguments = server_arguments()
    api = MLPAPI(max_batch_size=64, batch_timeout=0.002)
    api.model_name = arguments.model
    server = litserve.LitServer(api, accelerator=arguments.device)
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
