"""Writing to a database that may be away for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from core.leases import Lease

T = TypeVar("T")


def patiently(lease: Lease, write: Callable[[], T]) -> T:
    """Write, waiting for the database for as long as the lease; after that the sweep decides. Raises DBAPIError."""
    deadline = time.monotonic() + lease.seconds
    while True:
        try:
            return write()
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
