"""One running service per test module."""

from collections.abc import Iterator

import httpx
import pytest

from service import queue
from tests.service.live import Live, running_service


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running_service(tmp_path_factory.mktemp("service")) as live:
        yield live


@pytest.fixture(scope="module")
def http(live: Live) -> httpx.Client:
    return live.http


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that really runs may be slow to answer on a machine that is shared."""
    monkeypatch.setattr(queue, "ANSWER_SECONDS", 10)
