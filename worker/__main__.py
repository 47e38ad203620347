"""`python -m worker`: serves the settings' queues, one job at a time. Start several for several at once."""

import logging
import os
import socket
import threading

import structlog
from celery.signals import worker_shutting_down

from core.blobs import Blobs
from core.database import Database
from core.settings import Settings
from migrations.revisions import DatabaseBehind, require_newest
from worker.app import make_app
from worker.children import Children
from worker.presence import keep_present
from worker.supervisor import Supervisor
from worker.tasks import register

log = structlog.get_logger()


def main() -> None:
    settings = Settings()
    database = Database(settings.database)
    try:
        require_newest(database)
    except DatabaseBehind as error:
        raise SystemExit(str(error)) from None
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    name = f"{socket.gethostname()}-{os.getpid()}"
    children = Children(keep_ready=settings.ready_child)
    supervisor = Supervisor(database, Blobs(settings.storage), settings, name, children)
    app = make_app(settings)
    register(app, database, supervisor)

    # Celery waits for running tasks when it is told to stop; this is how the task hears of it.
    worker_shutting_down.connect(lambda **_: supervisor.should_stop.set(), weak=False)
    queues = [queue.strip() for queue in settings.queues.split(",") if queue.strip()]
    left = threading.Event()
    presence = threading.Thread(target=keep_present, args=(database, supervisor, queues, left), daemon=True)
    presence.start()
    children.prepare()
    log.info("worker started", worker=name, queues=queues)
    arguments = ["worker", "--pool", "threads", "--concurrency", "1", "--queues", ",".join(queues), "--hostname", name]
    try:
        app.worker_main(
            [*arguments, "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        )
    finally:
        children.close()
        left.set()
        presence.join(5)
        database.close()


if __name__ == "__main__":
    main()
