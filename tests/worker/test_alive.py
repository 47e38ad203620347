"""A container's health check asks what the worker itself has said."""

import os
import subprocess
import sys

from sqlalchemy import update

from core.clock import database_now
from core.database import Database
from core.tables import Worker
from worker.alive import SILENT_SECONDS, is_alive


def add_worker(database: Database, name: str) -> None:
    with database.write() as session:
        session.add(Worker(name=name, queues=[], devices=[], versions={}))
        session.commit()


def test_a_worker_is_alive_while_it_says_so(database: Database) -> None:
    assert not is_alive(database, "box")
    add_worker(database, "box-17")
    assert is_alive(database, "box")
    with database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=database_now(-SILENT_SECONDS - 1)))
        session.commit()
    assert not is_alive(database, "box")


def test_another_machines_worker_does_not_speak_for_this_one(database: Database) -> None:
    add_worker(database, "box_2-17")
    assert not is_alive(database, "box")
    assert not is_alive(database, "box%2")
    assert is_alive(database, "box_2")


def test_the_exit_code_says_it_to_the_container_engine(database: Database, database_url: str) -> None:
    environment = {**os.environ, "DISTILL_DATABASE_URL": database_url}
    done = subprocess.run([sys.executable, "-m", "worker.alive"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
