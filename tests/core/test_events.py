"""What a job says keeps its order, and a series keeps its shape."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.database import Database
from core.events import (
    MAX_MESSAGE,
    MAX_WARNINGS,
    events_after,
    metric_names,
    metrics_after,
    record_event,
    record_metrics,
    series,
)
from core.jobs import Jobs
from core.tables import Event
from tests.core.rows import OWNER, add_job, count, job_row

on_one_database = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_points(database: Database, job_id: str, points: list[tuple[str, int, float]]) -> None:
    with database.write() as session:
        record_metrics(session, job_id, points)
        session.commit()


def test_events_are_numbered_without_gaps_however_many_write(database: Database) -> None:
    job_id = add_job(database)

    def say(number: int) -> None:
        with database.write() as session:
            record_event(session, job_id, f"event {number}")
            if number % 5:
                session.commit()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(50)))
    with database.read() as session:
        seqs = [event.seq for event in events_after(session, job_id, 0, 100)]
    # One "Queued", and four of each five; what was rolled back left no gap.
    assert seqs == list(range(1, 42))


def test_who_reads_while_others_write_misses_nothing(database: Database) -> None:
    """A reader that goes on from the last number it saw must see every event: no number may appear below it later."""
    job_id = add_job(database)
    total = 60
    seen: list[int] = [0]

    def say(number: int) -> None:
        with database.write() as session:
            record_event(session, job_id, f"event {number}")
            session.commit()

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(say, number) for number in range(total)]
        while not all(writer.done() for writer in writers) or seen[-1] < count(database, Event, Event.job_id == job_id):
            with database.read() as session:
                seen += [event.seq for event in events_after(session, job_id, seen[-1], 7)]
    assert seen == list(range(total + 2))


def test_a_warning_is_listed_on_the_job_once(database: Database) -> None:
    job_id = add_job(database)
    with database.write() as session:
        for _ in range(3):
            record_event(session, job_id, "kd_loss is 30 times ce_loss", level="warning")
        record_event(session, job_id, "an error is no warning", level="error")
        session.commit()
    assert job_row(database, job_id).warnings == ["kd_loss is 30 times ce_loss"]


def test_what_is_said_is_bounded(database: Database) -> None:
    job_id = add_job(database)
    with database.write() as session:
        for number in range(MAX_WARNINGS + 5):
            record_event(session, job_id, f"warning {number}", level="warning")
        record_event(session, job_id, "x" * (2 * MAX_MESSAGE))
        session.commit()
    assert len(job_row(database, job_id).warnings) == MAX_WARNINGS
    with database.read() as session:
        last = events_after(session, job_id, job_row(database, job_id).event_count - 1, 1)
    assert [len(event.message) for event in last] == [MAX_MESSAGE]


def test_a_deleted_job_says_nothing_more(database: Database) -> None:
    with database.write() as session:
        record_event(session, "job_gone", "hello?")
        record_metrics(session, "job_gone", [("loss", 1, 1.0)])
        session.commit()
    assert count(database, Event) == 0


def test_a_resumed_training_replaces_the_steps_that_it_repeats(database: Database) -> None:
    job_id = add_job(database)
    write_points(database, job_id, [("loss", step, 10.0 - step) for step in range(5)])
    with database.read() as session:
        last_seen = metrics_after(session, job_id, 0, 100)[-1].seq
    write_points(database, job_id, [("loss", 3, 1.5), ("loss", 4, 1.25), ("loss", 4, 1.0), ("loss", 5, 0.5)])
    with database.read() as session:
        assert series(session, job_id, "loss") == [(0, 10.0), (1, 9.0), (2, 8.0), (3, 1.5), (4, 1.0), (5, 0.5)]
        # A stream that has seen the earlier numbers hears the later ones.
        assert {point.step for point in metrics_after(session, job_id, last_seen, 100)} == {3, 4, 5}


@given(total=st.integers(0, 80), points=st.integers(2, 40))
@on_one_database
def test_a_thinned_series_keeps_its_ends_and_is_spread_evenly(database: Database, total: int, points: int) -> None:
    job_id = add_job(database)
    whole = [(step * 10, float(step)) for step in range(total)]
    write_points(database, job_id, [("loss", step, value) for step, value in whole])
    with database.read() as session:
        thinned = series(session, job_id, "loss", points=points)
        assert series(session, job_id, "loss") == whole
    assert len(thinned) <= points
    assert set(thinned) <= set(whole)
    if whole:
        assert (thinned[0], thinned[-1]) == (whole[0], whole[-1])
    if total <= points:
        assert thinned == whole
    strides = {after[0] - before[0] for before, after in pairwise(thinned)}
    assert len(strides) <= 2, "one stride, and what is left over before the last"


def test_a_series_is_cut_to_its_steps_before_it_is_thinned(database: Database) -> None:
    job_id = add_job(database)
    write_points(database, job_id, [("loss", step, 0.0) for step in range(100)])
    with database.read() as session:
        thinned = series(session, job_id, "loss", from_step=10, to_step=20, points=3)
        assert [step for step, _ in thinned] == [10, 15, 20]
        assert series(session, job_id, "loss", from_step=200) == []
        assert series(session, job_id, "no such name", points=5) == []


@pytest.mark.parametrize("points", [1, 2])
def test_at_most_means_at_most(database: Database, points: int) -> None:
    job_id = add_job(database)
    write_points(database, job_id, [("loss", step, 0.0) for step in range(9)])
    with database.read() as session:
        assert len(series(session, job_id, "loss", points=points)) == points


def test_names_are_listed_once(database: Database) -> None:
    job_id = add_job(database)
    write_points(database, job_id, [("b", 1, 0.0), ("a", 1, 0.0), ("b", 2, 0.0)])
    with database.read() as session:
        assert list(metric_names(session, job_id)) == ["a", "b"]
        assert Jobs(session, OWNER).get(job_id).metric_count == 3


def test_no_points_are_no_write(database: Database) -> None:
    job_id = add_job(database)
    write_points(database, job_id, [])
    assert job_row(database, job_id).metric_count == 0
