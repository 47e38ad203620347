"""A worker's word that it lives, for /v1/system."""

import json
import subprocess
import sys
import threading
from typing import Any

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import DBAPIError

from core.clock import database_now
from core.database import Database
from core.tables import Worker
from worker.supervisor import Supervisor

log = structlog.get_logger()

HEARTBEAT_SECONDS = 5.0
FORGOTTEN_SECONDS = 3600.0


def keep_present(database: Database, supervisor: Supervisor, queues: list[str], left: threading.Event) -> None:
    """Write the worker's row every few seconds until `left`; then take it away."""
    machine = _machine()
    while True:
        try:
            _write(database, supervisor, queues, machine)
        except DBAPIError as error:
            log.warning("heartbeat put off", reason=str(error).splitlines()[0])
        if left.wait(HEARTBEAT_SECONDS):
            break
    with database.write() as session:
        session.execute(delete(Worker).where(Worker.name == supervisor.worker))
        session.commit()


def _write(database: Database, supervisor: Supervisor, queues: list[str], machine: dict[str, Any]) -> None:
    with database.write() as session:
        row = session.get(Worker, supervisor.worker)
        if row is None:
            row = Worker(name=supervisor.worker, queues=queues, **machine)
            session.add(row)
        row.job_id = next(iter(supervisor.current), None)
        row.heartbeat_at = database_now()
        session.execute(delete(Worker).where(Worker.heartbeat_at < database_now(-FORGOTTEN_SECONDS)))
        session.commit()


def _machine() -> dict[str, Any]:
    looked = subprocess.run([sys.executable, "-m", "worker.devices"], capture_output=True, text=True, check=False)
    if looked.returncode != 0:
        log.error("torch does not load here", stderr=looked.stderr[-500:])
        return {"devices": [], "versions": {}}
    machine: dict[str, Any] = json.loads(looked.stdout)
    return machine
