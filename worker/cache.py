"""The folder where what teachers said waits for later jobs of the same owner on this machine, within its limits."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path

from core.settings import Settings


def cache_folder(settings: Settings, owner: str) -> Path | None:
    """Return the owner's own folder, tidied up; None where the operator wants none. It is made when it is not there."""
    if not settings.cache_bytes:
        return None
    make_room(settings.cache, settings.cache_bytes, settings.cache_seconds)
    # Owners' names are free text: a digest is a folder's name on every file system.
    folder = settings.cache / hashlib.sha256(owner.encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_room(folder: Path, limit_bytes: int, limit_seconds: float) -> None:
    """Delete what has not been used for too long, then the least recently used until the rest is within the limit.

    A job that still reads a file keeps it until it closes it, wherever the name has gone.
    """
    used = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                used.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in used)
    oldest = time.time() - limit_seconds
    for at, size, path in sorted(used):
        if at >= oldest and total <= limit_bytes:
            break
        path.unlink(missing_ok=True)
        total -= size
