"""What /metrics tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.lifecycle import JobStatus
from core.tables import Job

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measures:
    """One registry per application, so that two in one process do not share numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route"]
        self._requests = Counter("distill_http_requests", "Answers.", [*labels, "status"], registry=self.registry)
        self._seconds = Histogram(
            "distill_http_seconds", "Time to the end of an answer.", labels, registry=self.registry
        )
        self._jobs = Gauge("distill_jobs", "Jobs in the database.", ["status"], registry=self.registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in KNOWN_METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def scrape(self, session: Session) -> bytes:
        """Return the text exposition; jobs are counted now."""
        counts = dict(session.execute(select(Job.status, func.count()).group_by(Job.status)).all())
        for status in JobStatus:
            self._jobs.labels(status.value).set(counts.get(status.value, 0))
        return generate_latest(self.registry)
