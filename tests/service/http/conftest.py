"""Fixtures: servers with one direct path that echoes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from echo_service import Service


@pytest.fixture
def make_service() -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(**limits: float) -> Service:
        services.append(Service(**limits))
        return services[-1]

    yield make
    for service in services:
        service.stop()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
