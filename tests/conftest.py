"""Shared by all tests: the two kinds of database, a broker, and one rule: nothing reaches a network."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in [name for name in os.environ if name.startswith("DISTILL_")]:
    del os.environ[name]

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from core.database import Database  # noqa: E402
from migrations.revisions import upgrade  # noqa: E402
from tests.servers import drop_postgres_database, make_postgres_database, running_postgres, running_valkey  # noqa: E402

if TYPE_CHECKING:
    from tests.service.served import Served

# A machine that is shared stalls at times: how long an example took says nothing.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The maintenance URL of a PostgreSQL server, started when the first test asks for it."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey server, started when the first test asks for it."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Served"]:
    """A service with tiny models and a real serving process, for all tests that ask models."""
    # Here, because it takes seconds to import torch, and most tests do without.
    from tests.service.served import serving_service

    with serving_service(tmp_path_factory.mktemp("served"), serving_concurrency=2, serving_queue=1) as served:
        yield served


def pytest_collection_finish() -> None:
    """What was imported stays, as in a job's process: each training looks for garbage, a third of a second with it."""
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of a database runs on both, or on those that its mark `databases` names."""
    if "database_url" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("databases")
        metafunc.parametrize("database_url", mark.args if mark else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database at the newest revision, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'test.sqlite3'}"
        upgrade(url)
        yield url
        return
    postgres = request.getfixturevalue("postgres")
    url = make_postgres_database(postgres)
    upgrade(url)
    yield url
    drop_postgres_database(postgres, url)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()
