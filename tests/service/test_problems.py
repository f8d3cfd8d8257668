"""Every error is one problem document; an unexpected error reveals nothing internal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models.errors import CheckpointError, Fault, InvalidName, ModelNotFound, RowError, StoreError
from service.errors import (
    BodiesCongested,
    ClientGone,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    ModelFault,
    ModelUnavailable,
    NotAcceptable,
    NoWorker,
    QueueFull,
    ReadingCongested,
    RepeatedKey,
    ServiceError,
    TooLarge,
    Unauthenticated,
    UnsupportedBody,
)
from service.http.problems import Problem, problem_of
from service.http.schemas import ProblemDocument

ERRORS: list[tuple[Exception, int, str]] = [
    (RowError([Fault(1, "x", "is bad")]), 422, "invalid-rows"),
    (InvalidName("no name"), 404, "model-not-found"),
    (ModelNotFound("no model"), 404, "model-not-found"),
    (StoreError("aliases.json cannot be read"), 503, "unavailable"),
    (ModelUnavailable("broken"), 503, "unavailable"),
    (NoWorker("none"), 503, "unavailable"),
    (QueueFull("iris", retry_after=1), 429, "queue-full"),
    (DeadlineExceeded("late"), 504, "deadline-exceeded"),
    (ClientGone("gone"), 499, "client-gone"),
    (ModelFault("NaN"), 500, "model-fault"),
    (CheckpointError("/secret/path", "is odd"), 500, "internal"),
    (ZeroDivisionError("at /secret/path"), 500, "internal"),
    (InvalidRequest("bad body"), 422, "invalid-request"),
    (TooLarge("vast"), 413, "too-large"),
    (UnsupportedBody("odd", {"Accept": "application/json"}), 415, "unsupported-media-type"),
    (NotAcceptable("odd"), 406, "not-acceptable"),
    (RepeatedKey(), 400, "bad-request"),
    (Unauthenticated(), 401, "unauthenticated"),
    (Unauthenticated(has_key=True), 401, "unauthenticated"),
    (Forbidden("read"), 403, "forbidden"),
    (ReadingCongested(retry_after=2), 429, "queue-full"),
    (BodiesCongested(), 503, "unavailable"),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS)
def test_errors_become_problem_documents(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error)
    document = json.loads(problem.body("id-1"))
    assert ProblemDocument.model_validate(document).request_id == "id-1"
    assert (problem.status, document["status"]) == (status, status)
    assert document["type"] == f"urn:axon:problem:{code}"
    assert "secret" not in document["detail"]
    assert ("Retry-After" in problem.headers) == (status in (429, 503))


def test_every_error_of_the_service_has_a_place_in_the_table() -> None:
    kinds: list[type[ServiceError]] = [ServiceError]
    leaves: list[type[ServiceError]] = []
    while kinds:
        kind = kinds.pop()
        below = [one for one in kind.__subclasses__() if one.__module__ == "service.errors"]
        kinds += below
        leaves += [] if below else [kind]
    foreseen = {type(error) for error, _, code in ERRORS if code != "internal"}
    assert len(leaves) > 12
    assert not set(leaves) - foreseen


def test_each_fault_is_told_with_its_row_and_column() -> None:
    faults = [Fault(0, None, "2 values where the model takes 3"), Fault(7, "city", "is no category")]
    document = json.loads(problem_of(RowError(faults)).body())
    assert document["errors"] == [
        {"row": 0, "column": None, "message": "2 values where the model takes 3"},
        {"row": 7, "column": "city", "message": "is no category"},
    ]
    assert "request_id" not in document


def test_a_problem_passes_through_context_managers() -> None:
    @contextmanager
    def passing_on() -> Iterator[None]:
        yield

    problem = problem_of(TooLarge("vast"))
    with pytest.raises(Problem) as caught, passing_on():
        raise problem
    assert caught.value is problem
    assert {problem} == {caught.value}
