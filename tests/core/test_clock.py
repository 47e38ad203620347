"""Times come back as they went in, and the database's clock is the one that counts."""

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from core.clock import database_now
from core.database import Database
from core.tables import Job
from tests.core.rows import add_job, job_row, set_job

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=zones)  # noqa: DTZ001 - hypothesis adds the zone


@given(times)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_time_in_any_zone_comes_back_in_utc(database: Database, written: datetime) -> None:
    job_id = add_job(database)
    set_job(database, job_id, started_at=written)
    read = job_row(database, job_id).started_at
    assert read == written
    assert read is not None
    assert read.utcoffset() == timedelta(0)


def test_no_time_stays_none(database: Database) -> None:
    assert job_row(database, add_job(database)).started_at is None


def test_the_databases_clock_moves_within_a_transaction(database: Database) -> None:
    with database.write() as session:
        before = session.scalars(select(database_now())).one()
        time.sleep(0.02)
        after = session.scalars(select(database_now())).one()
    assert before < after
    assert abs(datetime.now(UTC) - after) < timedelta(minutes=1)


def test_the_databases_clock_is_moved_by_seconds_and_their_parts(database: Database) -> None:
    with database.read() as session:
        now, later, earlier = (session.scalars(select(database_now(by))).one() for by in (0.0, 90.5, -3600.25))
    assert abs((later - now).total_seconds() - 90.5) < 20
    assert abs((earlier - now).total_seconds() + 3600.25) < 20


def test_a_statement_with_the_clock_is_compiled_once(database: Database) -> None:
    compiled: dict[Any, Any] = {}
    with database.engine.connect().execution_options(compiled_cache=compiled) as connection:
        first, second = (connection.scalar(select(database_now(by))) for by in (60.0, -60.0))
    assert first - second > timedelta(minutes=1)
    assert len(compiled) == 1


def test_a_stored_time_is_compared_with_the_clock(database: Database) -> None:
    job_id = add_job(database)
    for offset, is_past in ((-0.5, True), (30.0, False)):
        set_job(database, job_id, started_at=datetime.now(UTC) + timedelta(seconds=offset))
        with database.read() as session:
            past = session.scalars(select(Job.id).where(Job.started_at < database_now())).one_or_none()
        assert (past == job_id) is is_past
