"""An error of the server is the same exception in every form: the service's own writers are the oracle."""

from __future__ import annotations

import pytest

from axon.client.problems import error_of
from service.errors import (
    BodiesCongested,
    DeadlineExceeded,
    Forbidden,
    ModelFault,
    NoWorker,
    QueueFull,
    ReadingCongested,
    TooLarge,
    Unauthenticated,
)
from service.http.error_forms import error_text, problem_document
from service.http.problems import problem_of

ERRORS = [
    Unauthenticated(),
    Forbidden("predict"),
    TooLarge("vast"),
    QueueFull("iris", retry_after=1),
    ReadingCongested(retry_after=2),
    BodiesCongested(),
    NoWorker("none"),
    DeadlineExceeded("late"),
]


@pytest.mark.parametrize("error", [*ERRORS, ModelFault("NaN")], ids=lambda error: type(error).__name__)
def test_an_error_of_the_open_inference_protocol_is_that_of_predict(error: Exception) -> None:
    problem = problem_of(error)
    headers = {name.lower(): value for name, value in problem.headers.items()}
    found = [
        error_of(int(problem.status), headers, form(problem, "id-1")[0], "id-1")
        for form in (problem_document, error_text)
    ]
    documented, short = found
    assert type(short) is type(documented)
    assert (str(short), short.status, short.retry_after) == (str(documented), documented.status, documented.retry_after)
    # A status of 500 stands for several errors, and this protocol has no place for a code.
    assert short.code == (documented.code if documented.status != 500 else "")
    assert documented.code == problem.code
