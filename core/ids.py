"""Opaque ids with a typed prefix over a UUIDv7, so that they sort by the time they were made."""

from typing import Literal

import uuid_utils

Prefix = Literal["job", "ds", "model", "evt", "ckpt", "key", "req", "secret", "sweep"]


def make_id(prefix: Prefix) -> str:
    """Return an id such as `job_0192f0c1…`: unique, url-safe, ordered by time."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"
