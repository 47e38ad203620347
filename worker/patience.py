"""Doing without a database or a storage that is away for a while, and telling that something still moves."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from core.blobs import Blobs, Stored
from core.errors import StorageUnavailable
from core.leases import Lease

log = structlog.get_logger()

T = TypeVar("T")
Moved = Callable[[], None]
"""Called at each piece of a long way, which keeps the lease where a piece comes now and then."""

TRIES = 6


def unheard() -> None:
    """Where nobody asks whether something moves."""


def patiently(lease: Lease, ask: Callable[[], T]) -> T:
    """Read or write, waiting for the database for as long as the lease; after that the sweep decides.

    Raises DBAPIError.
    """
    deadline = time.monotonic() + lease.seconds
    while True:
        try:
            return ask()
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def put_patiently(blobs: Blobs, key: str, path: Path, moved: Moved = unheard) -> Stored:
    """Store a file, trying again for about a minute. Raises StorageUnavailable; DiskFull at once."""
    return _again(key, lambda: blobs.put(key, path, moved))


def fetch_patiently(blobs: Blobs, stored: Stored, target: Path, moved: Moved = unheard) -> None:
    """Copy a blob to a file, trying again for about a minute. Raises StorageUnavailable; what cannot pass, at once."""
    _again(stored.key, lambda: blobs.fetch(stored, target, moved))


def _again(key: str, ask: Callable[[], T]) -> T:
    for attempt in range(TRIES):
        try:
            return ask()
        except StorageUnavailable as error:
            log.warning("storage put off", key=key, reason=str(error))
            time.sleep(2**attempt)
    return ask()
