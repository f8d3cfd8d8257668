"""Answers of MLflow's scoring protocol: `{"predictions": […]}`, for classifiers with `probabilities`.

MLflow's own server sends no `probabilities`, and its client ignores other keys than `predictions`.
"""

from __future__ import annotations

from service.batching.served_version import ServedVersion
from service.http.wire.json_answers import JsonWriter


class MlflowWriter(JsonWriter):
    """Writes the answers of one model version."""

    def _begin(self, served: ServedVersion) -> bytes:
        """Returns the beginning of each answer, up to the first prediction."""
        return b'{"predictions":['
