"""The client of the Open Inference Protocol whose inputs and outputs are Pydantic models, unmodified."""

from __future__ import annotations

import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import check_probabilities, check_values, expected_labels


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The reports of the client."""
    module = "pydantic_open_inference"
    return run_client("pydantic_oip", f"http://{doors.http}", module=module, environment="oip")


def test_answers_are_torchs(reports: Reports) -> None:
    assert reports["colours"]["predictions"] == expected_labels("colours")
    check_probabilities("colours", reports["colours"]["probabilities"])
    check_values("price", reports["price"]["predictions"])


def test_readiness_and_errors_are_the_clients(reports: Reports) -> None:
    assert reports["ready"] is True
    assert reports["unknown model ready"] is False
    assert reports["unknown model"] == 404
