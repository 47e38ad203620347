"""Starting the HTTP process: refuses what would not work or would not be safe, then serves."""

import logging
import signal
import sys
import tempfile
from types import FrameType
from typing import NoReturn

import structlog
import uvicorn

from core import api_keys
from core.addresses import is_loopback
from core.database import Database
from core.settings import Settings
from migrations.revisions import DatabaseBehind, require_newest
from service.app import create_app
from service.deps import Service

ADMIN = "admin"
KEEP_ALIVE_SECONDS = 30
DRAIN_SECONDS = 8
MAX_HEADER_BYTES = 32 << 10


class CannotStart(Exception):
    """Said on one line, without a traceback."""


class Server(uvicorn.Server):
    """Uvicorn, which tells the application that it is told to stop, and its operator where it listens."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.service.is_closing = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override] # uvicorn says socket.socket
        await super().startup(sockets)  # type: ignore[arg-type] # as above
        if self.started:
            host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
            print(f"distillation service at http://{host}:{self.port}", flush=True)  # noqa: T201 - its output

    @property
    def port(self) -> int:
        """The port that is bound, also where 0 was asked for."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def make_server(settings: Settings) -> Server:
    """A server that is ready to run. Raises CannotStart."""
    prepare(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        http="h11",
        ws="none",
        lifespan="on",
    )
    return Server(config, app.state.service)


def prepare(settings: Settings) -> None:
    """Check the database and store the bootstrap key. Raises CannotStart."""
    database = Database(settings.database)
    try:
        require_newest(database)
        with database.write() as session:
            has_key = api_keys.any_key(session)
            if not has_key and settings.bootstrap_key is not None:
                secret = settings.bootstrap_key.get_secret_value()
                api_keys.issue(session, ADMIN, "bootstrap", secret=secret)
                session.commit()
                has_key = True
    except DatabaseBehind as error:
        raise CannotStart(str(error)) from error
    finally:
        database.close()
    if not has_key and not is_loopback(settings.host):
        raise CannotStart(
            f"{settings.host} can be reached by others and there is no API key: "
            "run `python -m service.keys create --owner NAME` first, or set DISTILL_BOOTSTRAP_KEY"
        )
    settings.work.mkdir(parents=True, exist_ok=True)
    # Uploads are spooled on the disk that the operator gave us, not on the system's.
    tempfile.tempdir = str(settings.work)


def configure_logs() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Uvicorn raises the signal again once it has drained: being told to stop and stopping is a success."""
    sys.exit(0)


def main() -> int:
    configure_logs()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        server = make_server(Settings())
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    server.run()
    return 0 if server.started else 1
