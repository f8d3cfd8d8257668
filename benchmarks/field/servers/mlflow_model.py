"""MLflow: a pyfunc model "from code". `mlflow_model.py FOLDER` saves the model there; MLflow loads this file again."""

import os
import sys

import mlflow
import numpy as np
import torch
from mlflow.models import ModelSignature, set_model
from mlflow.types.schema import Schema, TensorSpec

from benchmarks.model import LAYER_SIZES, make_model


class MLP(mlflow.pyfunc.PythonModel):
    """The model."""

    def load_context(self, context: object) -> None:
        """Loads the model, once per process."""
        torch.set_num_threads(1)
        self.model = make_model(os.environ["AXON_BENCH_MODEL"])

    @torch.inference_mode()
    def predict(self, context: object, model_input: np.ndarray, params: dict | None = None) -> dict:
        """Answers one request."""
        probabilities = self.model(torch.as_tensor(np.asarray(model_input), dtype=torch.float32)).softmax(-1)
        return {"predictions": probabilities.argmax(-1).tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    in_features = LAYER_SIZES[os.environ["AXON_BENCH_MODEL"]][0]
    mlflow.pyfunc.save_model(
        sys.argv[1],
        python_model=__file__,
        signature=ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, in_features))])),
        pip_requirements=["torch"],
    )
else:
    set_model(MLP())
