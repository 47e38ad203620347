"""What a job says while it lives: events (sentences) and metrics (numbers), in the order of their commits."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.ids import make_id
from core.tables import Event, Job, Metric
from core.wire import EventType, Level

MAX_WARNINGS = 100
MAX_MESSAGE = 4000


def record_event(
    session: Session,
    job_id: str,
    message: str,
    *,
    type: EventType = "log",  # noqa: A002 - it is the event's `type` on the wire
    level: Level = "info",
    data: Mapping[str, Any] | None = None,
) -> None:
    """Append an event; a warning is listed on the job too. The job's row is locked, so that `seq` follows commits."""
    count = update(Job).where(Job.id == job_id).values(event_count=Job.event_count + 1)
    row = session.execute(count.returning(Job.event_count, Job.warnings)).one_or_none()
    if row is None:
        return
    seq, warnings = row
    message = message[:MAX_MESSAGE]
    if level == "warning" and message not in warnings and len(warnings) < MAX_WARNINGS:
        session.execute(update(Job).where(Job.id == job_id).values(warnings=[*warnings, message]))
    event = {"id": make_id("evt"), "job_id": job_id, "seq": seq, "type": type, "level": level, "message": message}
    session.execute(insert(Event).values(**event, data=dict(data or {})))


def events_after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    query = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    return session.scalars(query.order_by(Event.seq).limit(limit)).all()


def record_metrics(session: Session, job_id: str, points: Sequence[tuple[str, int, float]]) -> None:
    """Write points (name, step, value). A resumed training repeats steps; the later number replaces the earlier."""
    if not points:
        return
    count = update(Job).where(Job.id == job_id).values(metric_count=Job.metric_count + len(points))
    last = session.scalars(count.returning(Job.metric_count)).one_or_none()
    if last is None:
        return
    first = last - len(points) + 1
    unique = {(name, step): (value, first + place) for place, (name, step, value) in enumerate(points)}
    rows = [
        {"job_id": job_id, "name": name, "step": step, "value": value, "seq": seq}
        for (name, step), (value, seq) in unique.items()
    ]
    session.execute(_upsert(session), rows)


def _upsert(session: Session) -> Insert:
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(Metric)
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=["job_id", "name", "step"],
        set_={"value": statement.excluded.value, "seq": statement.excluded.seq},
    )
    return upsert


def metrics_after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Row[str, int, float, int]]:
    """(name, step, value, seq) of points: they come by the hundred, and whole objects would take most of the time."""
    query = select(Metric.name, Metric.step, Metric.value, Metric.seq).where(Metric.job_id == job_id, Metric.seq > seq)
    return session.execute(query.order_by(Metric.seq).limit(limit)).all()


def metric_names(session: Session, job_id: str) -> Sequence[str]:
    return session.scalars(select(Metric.name).where(Metric.job_id == job_id).distinct().order_by(Metric.name)).all()


def series(
    session: Session,
    job_id: str,
    name: str,
    *,
    from_step: int = 0,
    to_step: int | None = None,
    points: int | None = None,
) -> list[tuple[int, float]]:
    """One metric's (step, value), at most `points` of them: evenly chosen, with the last and, of two, the first."""
    where = [Metric.job_id == job_id, Metric.name == name, Metric.step >= from_step]
    if to_step is not None:
        where.append(Metric.step <= to_step)
    if points is None:
        rows = session.execute(select(Metric.step, Metric.value).where(*where).order_by(Metric.step))
        return [(step, value) for step, value in rows]
    total = session.scalar(select(func.count()).select_from(Metric).where(*where)) or 0
    place = (func.row_number().over(order_by=Metric.step) - 1).label("place")
    numbered = select(Metric.step, Metric.value, place).where(*where).subquery()
    stride = max(1, -(-(total - 1) // max(1, points - 1)))
    is_last = numbered.c.place == total - 1
    is_kept = is_last if points == 1 else is_last | (numbered.c.place % stride == 0)
    kept = select(numbered.c.step, numbered.c.value).where(is_kept)
    return [(step, value) for step, value in session.execute(kept.order_by(numbered.c.step))]
