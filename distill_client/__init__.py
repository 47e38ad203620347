"""The Python client of the distillation service."""

from distill_client.client import Client
from distill_client.errors import (
    ApiError,
    ChecksumMismatch,
    ClientError,
    Fault,
    FilesInTheWay,
    NotOurs,
    ServerUnreachable,
    UnsafePath,
    UnusableKey,
    UnusableUrl,
)
from distill_client.jobs import JobTimeout
from distill_client.retrying import Retries
from distill_client.sweeps import SweepTimeout

__all__ = [
    "ApiError",
    "ChecksumMismatch",
    "Client",
    "ClientError",
    "Fault",
    "FilesInTheWay",
    "JobTimeout",
    "NotOurs",
    "Retries",
    "ServerUnreachable",
    "SweepTimeout",
    "UnsafePath",
    "UnusableKey",
    "UnusableUrl",
]
