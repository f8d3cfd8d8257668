"""The table of statuses: each error of the service has a code, and no executed call gets UNAVAILABLE."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grpc_client import grpc

from models.errors import Fault, InvalidName, ModelNotFound, RowError, StoreError
from service import errors
from service.grpc.frames import error_trailers
from service.grpc.statuses import Code, status_of
from service.http.problems import problem_of

EXAMPLES: list[Exception] = [
    errors.InvalidRequest("no"),
    errors.TooLarge("large"),
    errors.RepeatedKey(),
    errors.Unauthenticated(),
    errors.Forbidden("read"),
    errors.QueueFull("m", 2),
    errors.ReadingCongested(3),
    errors.BodiesCongested(),
    errors.DeadlineExceeded("late"),
    errors.ClientGone("gone"),
    errors.NoWorker("none"),
    errors.ModelUnavailable("none"),
    errors.ModelFault("fault"),
    RowError([Fault(0, "x", "bad")]),
    InvalidName("x"),
    ModelNotFound("x"),
    StoreError("/a/path"),
]


def kinds(kind: type) -> Iterator[type]:
    for child in kind.__subclasses__():
        if child.__module__ == "service.errors":
            yield child
            yield from kinds(child)


def test_each_error_of_the_service_is_in_the_table() -> None:
    leaves = {kind for kind in kinds(errors.ServiceError) if not kind.__subclasses__()}
    of_media_types = {errors.UnsupportedBody, errors.NotAcceptable}  # gRPC has no media types
    assert leaves - {type(example) for example in EXAMPLES} == of_media_types


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_codes_fit_the_statuses_of_http(error: Exception) -> None:
    status, problem = status_of(error), problem_of(error)
    assert status.code != Code.INTERNAL or isinstance(error, errors.ModelFault)
    assert (status.code == Code.UNAVAILABLE) == (type(error) in (errors.NoWorker, errors.ModelUnavailable, StoreError))
    assert status.http == (400 if problem.status == 422 else problem.status)
    assert (status.kind, status.detail.lower()) == (problem.code, problem.detail.lower())
    assert getattr(grpc.StatusCode, status.code.name).value[0] == status.code


def test_an_unforeseen_error_says_nothing_about_the_code() -> None:
    status = status_of(ZeroDivisionError("secret"))
    assert status.code == Code.INTERNAL
    assert "secret" not in status.detail


def test_a_message_is_percent_encoded() -> None:
    assert b"50%25 \xe2".replace(b"\xe2", b"%E2%98%83") in error_trailers(3, "50% \N{SNOWMAN}")
