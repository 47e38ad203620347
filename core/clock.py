"""The database's clock: the only one that leases and expiries are judged by, whatever a machine thinks the time is."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Double, literal
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite, which has no zones, stores it bare."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(FunctionElement[datetime]):  # noqa: N801 - it is used as an SQL function
    """The database's present time, moved by `seconds` (negative: into the past)."""

    type = UtcTime()
    # The seconds are a parameter, so that a statement with a time in it is compiled once, not at every request.
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(*([literal(float(seconds), Double())] if seconds else []))


@compiles(database_now, "sqlite")
def _sqlite(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    moved = f", printf('%+.3f seconds', {seconds})" if seconds else ""
    # %f has three digits; three zeros make it the six that SQLAlchemy reads as microseconds.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now'{moved})"


@compiles(database_now, "postgresql")
def _postgresql(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    moved = f" + make_interval(secs => {seconds})" if seconds else ""
    # clock_timestamp moves within a transaction, now() does not; a lease taken late in one must not start in the past.
    return f"(clock_timestamp(){moved})"
