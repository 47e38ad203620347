"""The Python client of the distillation service."""

from distill_client.client import Client
from distill_client.errors import (
    ApiError,
    ChecksumMismatch,
    ClientError,
    Fault,
    NotOurs,
    ServerUnreachable,
    UnsafePath,
    UnusableUrl,
)
from distill_client.jobs import JobTimeout
from distill_client.retrying import Retries

__all__ = [
    "ApiError",
    "ChecksumMismatch",
    "Client",
    "ClientError",
    "Fault",
    "JobTimeout",
    "NotOurs",
    "Retries",
    "ServerUnreachable",
    "UnsafePath",
    "UnusableUrl",
]
