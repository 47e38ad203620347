"""The real service on a free loopback port, in a thread of the test's process."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.database import Database
from core.settings import Settings
from migrations.revisions import upgrade
from service.deps import Service
from service.main import make_server

NO_BROKER = "redis://127.0.0.1:1/0"


class Live:
    """A running service: `http` speaks to it, `service` is what it holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        upgrade(settings.database)
        self.server = make_server(settings)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    @property
    def service(self) -> Service:
        return self.server.service

    @property
    def database(self) -> Database:
        return self.service.database

    def stop(self) -> None:
        self.http.close()
        self.service.is_closing = True
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive(), "the service did not stop"


@contextmanager
def running_service(data: Path, **settings: Any) -> Iterator[Live]:
    """Yield a service with a folder of its own; without a broker unless one is named."""
    before = tempfile.tempdir
    live = Live(Settings(**{"data": data, "port": 0, "broker_url": NO_BROKER, **settings}))
    try:
        yield live
    finally:
        live.stop()
        tempfile.tempdir = before
