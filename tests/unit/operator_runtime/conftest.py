"""An API server in the process, and a clock that goes when told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from clara_operator.runtime.api import Api
from clara_testing.fake_api import FakeApi


class Clock:
    """Seconds, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def api(server: FakeApi) -> AsyncIterator[Api]:
    async with server.serving() as connection:
        one = Api(connection, timeout=5)
        yield one
        await one.close()
