"""The reasons of the server are the Shapley values that `shap` finds by asking `POST /predict`."""

from __future__ import annotations

import numpy as np
import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import MODELS

from models.columns.schema import NumericTarget


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The values of `shap` and of the server."""
    return run_client("shap_values", f"http://{doors.http}", module="shap", environment="shap")


@pytest.mark.parametrize("model", MODELS)
def test_reasons_are_shaps_values(reports: Reports, model: str) -> None:
    target = MODELS[model].schema.target
    unit = target.std if isinstance(target, NumericTarget) else 1.0
    columns = reports[model]["columns"]
    assert len(reports[model]["axon"]) == len(reports[model]["shap"]) == 3
    for wanted, explanation in zip(reports[model]["shap"], reports[model]["axon"], strict=True):
        found = {reason["column"]: reason["contribution"] for reason in explanation["reasons"]}
        np.testing.assert_allclose([found[name] for name in columns], wanted, atol=2e-6 * unit, rtol=0)
        assert explanation["kind"] == "exact"
