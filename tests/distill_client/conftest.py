"""A scripted server, a client that does not sleep, and the real service with a worker that a test plays."""

from collections.abc import Iterator

import pytest

from distill_client import Client
from tests.distill_client.live import Live, live_service
from tests.distill_client.scripted import Scripted, scripted_server


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    """The seconds that the `client` would have slept."""
    return []


@pytest.fixture
def client(scripted: Scripted, slept: list[float]) -> Iterator[Client]:
    with Client(scripted.url) as client:
        client.transport.sleep = slept.append
        yield client


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The real service on a free port."""
    with live_service(tmp_path_factory.mktemp("live")) as service:
        yield service
