"""When to ask a server again."""

import asyncio
import random
import time

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
LONGEST_OBEYED_SECONDS = 900.0
AGAIN = frozenset({408, 409, 425, 429})


def is_worth_retrying(status: int) -> bool:
    return status in AGAIN or status >= 500


def pause_seconds(attempt: int) -> float:
    """Return how long to wait before attempt + 1, counted from 1: exponential, with jitter, so that the requests that
    failed together do not come back together."""
    ceiling = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (attempt - 1))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load is no secret


class Gate:
    """Closed for everybody while the server asks to be left alone."""

    def __init__(self) -> None:
        self.opens_at = 0.0

    def close(self, seconds: float) -> None:
        """Keep closed for as long as the server said, up to a quarter of an hour."""
        self.opens_at = max(self.opens_at, time.monotonic() + min(seconds, LONGEST_OBEYED_SECONDS))

    async def passed(self) -> None:
        """Wait until the gate is open; those who wait do not rush through it at once."""
        while (closed_seconds := self.opens_at - time.monotonic()) > 0:
            await asyncio.sleep(closed_seconds + random.uniform(0.0, 0.5))  # noqa: S311 - as above
