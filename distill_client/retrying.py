"""When to ask again, and after how long."""

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

RETRIED_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with jitter. A server's own Retry-After is obeyed, up to `longest_seconds`."""

    attempts: int = 6
    first_contact_attempts: int = 3
    """A server that has never answered is more likely absent than busy."""
    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def delay_seconds(self, attempt: int, response: httpx.Response | None = None) -> float:
        """How long to wait before attempt + 1; attempts count from 1."""
        asked = None if response is None else retry_after_seconds(response)
        if asked is not None:
            return min(asked, self.longest_seconds)
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** (attempt - 1))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load is no secret


def is_worth_retrying(response: httpx.Response) -> bool:
    """The server's x-should-retry decides where it is given. A 409 that says Retry-After is a POST still in flight."""
    if "x-should-retry" in response.headers:
        return bool(response.headers["x-should-retry"] == "true")
    if response.status_code == 409:
        return "retry-after" in response.headers
    return response.status_code in RETRIED_STATUSES


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Read Retry-After, which is a number of seconds or a date."""
    header = response.headers.get("retry-after")
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        return _seconds_until(header, response.headers.get("date"))


def _seconds_until(moment: str, present: str | None) -> float | None:
    """The server's own Date is the clock, so that a wrong one here does not matter."""
    try:
        if present is None:
            return None
        return max(0.0, (parsedate_to_datetime(moment) - parsedate_to_datetime(present)).total_seconds())
    except ValueError:
        return None
