"""`python -m worker.alive`: a container's health check. Exits with 0 while this machine's worker says that it lives."""

import socket
import sys

from sqlalchemy import select

from core.clock import database_now
from core.database import Database
from core.settings import Settings
from core.tables import Worker

SILENT_SECONDS = 30.0


def is_alive(database: Database, host: str) -> bool:
    """Whether a worker of `host` has written its row lately, by the database's clock."""
    query = select(Worker.name).where(
        Worker.name.startswith(f"{host}-", autoescape=True), Worker.heartbeat_at > database_now(-SILENT_SECONDS)
    )
    with database.read() as session:
        return session.scalars(query.limit(1)).one_or_none() is not None


if __name__ == "__main__":
    sys.exit(0 if is_alive(Database(Settings().database), socket.gethostname()) else 1)
