"""What endpoints ask for: the caller, a session, the queue, the blobs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from core.blobs import Blobs
from core.database import Database
from core.datasets import Datasets
from core.jobs import Jobs
from core.models import Models
from core.secrets import Secrets
from core.settings import Settings
from core.sweeps import Sweeps
from service.auth import Caller
from service.measures import Measures
from service.queue import Queue
from service.serving.forwarding import Serving

# Each takes a thread for as long as it is checked; many more would leave none for those who only look.
UPLOADS_AT_ONCE = 8
# Servers of others that are asked before a job is stored; each may keep us waiting, and its answer in memory.
PROBES_AT_ONCE = 8


@dataclass
class Service:
    """What one application holds."""

    settings: Settings
    database: Database
    blobs: Blobs
    queue: Queue
    measures: Measures
    serving: Serving
    upload_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))
    probe_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES_AT_ONCE))
    is_closing: bool = False
    """Set when the process is told to stop, so that event streams end instead of holding it up."""


# Async, though they wait for nothing: FastAPI hands every other function to a thread, which costs more than these do.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(_service)]


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["distill.caller"]
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


def _reading(service: ServiceDep) -> Iterator[Session]:
    with service.database.read() as session:
        yield session


def _writing(service: ServiceDep) -> Iterator[Session]:
    with service.database.write() as session:
        yield session


# The scope ends a session with the endpoint's function, not with the last byte of a long download.
ReadDep = Annotated[Session, Depends(_reading, scope="function")]
WriteDep = Annotated[Session, Depends(_writing, scope="function")]


async def _settings(service: ServiceDep) -> Settings:
    return service.settings


async def _blobs(service: ServiceDep) -> Blobs:
    return service.blobs


async def _queue(service: ServiceDep) -> Queue:
    return service.queue


SettingsDep = Annotated[Settings, Depends(_settings)]
BlobsDep = Annotated[Blobs, Depends(_blobs)]
QueueDep = Annotated[Queue, Depends(_queue)]


async def _jobs_read(session: ReadDep, caller: CallerDep) -> Jobs:
    return Jobs(session, caller.owner)


async def _jobs_written(session: WriteDep, caller: CallerDep) -> Jobs:
    return Jobs(session, caller.owner)


async def _datasets_read(session: ReadDep, caller: CallerDep) -> Datasets:
    return Datasets(session, caller.owner)


async def _datasets_written(session: WriteDep, caller: CallerDep) -> Datasets:
    return Datasets(session, caller.owner)


async def _models_read(session: ReadDep, caller: CallerDep) -> Models:
    return Models(session, caller.owner)


async def _models_written(session: WriteDep, caller: CallerDep) -> Models:
    return Models(session, caller.owner)


async def _secrets_read(session: ReadDep, caller: CallerDep) -> Secrets:
    return Secrets(session, caller.owner)


async def _secrets_written(session: WriteDep, caller: CallerDep) -> Secrets:
    return Secrets(session, caller.owner)


async def _sweeps_read(session: ReadDep, caller: CallerDep) -> Sweeps:
    return Sweeps(session, caller.owner)


async def _sweeps_written(session: WriteDep, caller: CallerDep) -> Sweeps:
    return Sweeps(session, caller.owner)


JobsRead = Annotated[Jobs, Depends(_jobs_read)]
JobsWritten = Annotated[Jobs, Depends(_jobs_written)]
DatasetsRead = Annotated[Datasets, Depends(_datasets_read)]
DatasetsWritten = Annotated[Datasets, Depends(_datasets_written)]
ModelsRead = Annotated[Models, Depends(_models_read)]
ModelsWritten = Annotated[Models, Depends(_models_written)]
SecretsRead = Annotated[Secrets, Depends(_secrets_read)]
SecretsWritten = Annotated[Secrets, Depends(_secrets_written)]
SweepsRead = Annotated[Sweeps, Depends(_sweeps_read)]
SweepsWritten = Annotated[Sweeps, Depends(_sweeps_written)]


async def _upload_turn(service: ServiceDep) -> AsyncIterator[None]:
    async with service.upload_turns:
        yield


UPLOAD_TURN = Depends(_upload_turn, scope="function")
"""Uploads are checked a few at a time; the others wait without a thread."""
