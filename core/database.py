"""The one door to the database: a read or a write transaction, on SQLite or PostgreSQL."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, Select, create_engine, event, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

LOCK_WAIT_SECONDS = 20
CONNECT_SECONDS = 5
WRITING = "BEGIN IMMEDIATE"


Hold = Literal["from_going", "to_delete"]
"""What a transaction wants a row to be kept for: that nobody deletes it meanwhile, or that nobody holds it so."""
Row = TypeVar("Row")


def held(query: Select[Row], hold: Hold | None) -> Select[Row]:
    """Return the query with its rows locked until the transaction ends. SQLite has one writer and needs no lock."""
    return query if hold is None else query.with_for_update(read=hold == "from_going")


class Database:
    """Sessions of one database.

    `write` takes SQLite's write lock at BEGIN, so that two writers queue instead of failing half way; `read` never
    blocks and is never blocked (WAL). On PostgreSQL both are ordinary READ COMMITTED transactions.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._writing = self.engine.execution_options(begin=WRITING)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that its caller commits; anything not committed is rolled back."""
        with Session(self._writing, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _postgres_engine(url: str) -> Engine:
    return create_engine(
        url, pool_pre_ping=True, pool_size=10, max_overflow=40, connect_args={"connect_timeout": CONNECT_SECONDS}
    )


def _sqlite_engine(url: str) -> Engine:
    file = make_url(url).database
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, pool_size=10, max_overflow=40, connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False}
    )
    turns = _Turns()
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", turns.begin)
    event.listen(engine, "checkin", turns.end)
    return engine


class _Turns:
    """One writer of this process at a time. Those of others are waited for by SQLite, which looks again after pauses
    that grow to a tenth of a second: among many writers some would be passed over again and again.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def begin(self, connection: Connection) -> None:
        statement = connection.get_execution_options().get("begin", "BEGIN")
        if statement == WRITING and not connection.info.get(WRITING):
            # Whoever has waited for so long asks SQLite, which refuses it if the database is still locked.
            connection.info[WRITING] = self._turn.acquire(timeout=LOCK_WAIT_SECONDS)
        connection.exec_driver_sql(statement)

    def end(self, _connection: Any, record: ConnectionPoolEntry) -> None:
        """A connection has come back: its transaction is over."""
        if record.info.pop(WRITING, False):
            self._turn.release()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # None hands BEGIN to us: the driver's own is deferred, and a deferred writer fails instead of waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute(f"PRAGMA busy_timeout={LOCK_WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
