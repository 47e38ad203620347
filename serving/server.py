"""One serving process from its first log line to its end."""

import asyncio
import json
import logging
import os
import sys

import structlog
import uvicorn
from transformers.utils.logging import disable_progress_bar

from core.settings import Settings
from serving.app import Serving, create_app
from serving.lifetime import watch
from serving.loading import remove_left_over

DRAIN_SECONDS = 5
LEFT_OVER_SECONDS = 24 * 3600.0
"""Several processes may share a data folder: what is so old belongs to none that lives."""


def run(settings: Settings, token: str | None, host: str, port: int, *, is_embedded: bool) -> None:
    """Serve until told to stop; an embedded process also until it is idle."""
    _configure_logs()
    # A service has one child at a time, so that whatever lies there was another's.
    remove_left_over(settings.work, 0 if is_embedded else LEFT_OVER_SECONDS)
    serving = Serving(settings, token)
    config = uvicorn.Config(
        create_app(serving),
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        http="h11",
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    asyncio.run(_serve(uvicorn.Server(config), serving, is_embedded=is_embedded))


async def _serve(server: uvicorn.Server, serving: Serving, *, is_embedded: bool) -> None:
    def end() -> None:
        server.should_exit = True

    watching = asyncio.create_task(watch(serving, end if is_embedded else None))
    running = asyncio.create_task(server.serve())
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    if server.started:
        port = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"port": port}) if is_embedded else f"serving models at port {port}", flush=True)  # noqa: T201 - its output
        # Whatever else prints goes to the log: nobody reads this pipe any further, and a full one would hold us up.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    await running
    watching.cancel()


def _configure_logs() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    disable_progress_bar()  # type: ignore[no-untyped-call]
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
