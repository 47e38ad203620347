"""`distill doctor`: is everything well, and if not, what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any

import httpx
import typer

from distill_client.cli import formats
from distill_client.cli.app import FAILED, JsonFlag, app, connect
from distill_client.cli.output import joined, out, styled, write_json
from distill_client.client import Client
from distill_client.download import remote_sha256
from distill_client.errors import ApiError, ClientError, ServerUnreachable
from distill_client.shapes import Artifact, Json

PACKAGE = "distillation-service"
STALE_SECONDS = 30.0
"""A worker writes its heartbeat every five seconds; its age is told by the database's clock."""
MARKS = {True: ("ok", "green"), False: ("bad", "bold red")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    is_well: bool
    detail: str
    advice: str = ""


@app.command()
def doctor(
    ctx: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Download every artifact again and check its SHA-256.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check the service and everything behind it. Exits 1 if something is wrong."""
    all_well = True
    with connect(ctx) as client:
        for finding in examine(client, deep=deep):
            all_well = all_well and finding.is_well
            write_json(vars(finding)) if as_json else _tell(finding)
    if not all_well:
        raise typer.Exit(FAILED)


def _tell(finding: Finding) -> None:
    mark, style = MARKS[finding.is_well]
    line = joined((f"{mark:<4}", style), (f"{finding.name:<12}", "bold"), (finding.detail, ""))
    out.print(line, soft_wrap=True)
    if finding.advice and not finding.is_well:
        out.print(styled(f"{'':16}{finding.advice}", "cyan"), soft_wrap=True)


def examine(client: Client, *, deep: bool = False) -> Iterator[Finding]:
    """Look at one thing after the other, from the outside in."""
    try:
        ready = client.transport.once("/readyz")
    except ServerUnreachable as error:
        yield Finding("service", False, str(error), "start it with `distill up`, or set DISTILL_URL")
        return
    yield Finding("service", True, f"answers at {client.url}")
    yield from _parts(ready)
    try:
        system = client.system()
    except ClientError as error:
        advice = "set DISTILL_API_KEY to a key of this service" if isinstance(error, ApiError) else ""
        yield Finding("access", False, str(error), advice)
        return
    yield from _versions(system)
    yield from _workers(system)
    yield from _disk(system)
    if deep:
        yield from _artifacts(client)


ADVICE = {
    "database": "is it running, and is DISTILL_DATABASE_URL right? Tables are made by `python -m migrations`",
    "broker": "is it running, and is DISTILL_BROKER_URL right? Jobs are accepted meanwhile and published later",
    "storage": "is it reachable, and is DISTILL_STORAGE_URL right?",
}


def _parts(ready: httpx.Response) -> Iterator[Finding]:
    try:
        parts = parts_of(ready.json())
    except ValueError:
        yield Finding("readyz", False, f"answered HTTP {ready.status_code} without JSON", "is this URL the service's?")
        return
    for name, (is_well, detail) in parts.items():
        yield Finding(name, is_well, detail, ADVICE.get(name, ""))


def parts_of(answer: Any) -> dict[str, tuple[bool, str]]:
    """Each part that /readyz names: whether it is well, and in which words."""
    if not isinstance(answer, dict) or not all(isinstance(state, str) for state in answer.values()):
        raise ValueError("no parts")
    return {name: (state == "ok", state) for name, state in answer.items()}


def _versions(system: Json) -> Iterator[Finding]:
    server, ours = str(system["versions"].get(PACKAGE)), version(PACKAGE)
    same = server == ours
    yield Finding("version", same, f"service {server}, client {ours}", f"install the client's version {server}")


def _workers(system: Json) -> Iterator[Finding]:
    fresh = 0
    for worker in system["workers"]:
        seconds = float(worker["heartbeat_age_seconds"])
        is_fresh = seconds < STALE_SECONDS
        fresh += is_fresh
        devices = ", ".join(_device_name(device) for device in worker["devices"]) or "cpu"
        detail = f"{worker['name']} on {devices}, queues {', '.join(worker['queues'])}, heartbeat {seconds:.0f} s ago"
        yield Finding("worker", is_fresh, detail, "it stopped without a word: look at its log, start it again")
    if not fresh:
        advice = "jobs wait until one starts: `distill up`, or `python -m worker` beside the service"
        yield Finding("workers", False, "none is alive", advice)


def _device_name(device: Any) -> str:
    return str(device.get("name") or device.get("type")) if isinstance(device, dict) else str(device)


def _disk(system: Json) -> Iterator[Finding]:
    disk = system.get("disk")
    if isinstance(disk, dict) and "free_bytes" in disk:
        free = int(disk["free_bytes"])
        yield Finding(
            "disk", free > 1e9, f"{formats.size(free)} free", "give the data folder more space, or delete old jobs"
        )


def _artifacts(client: Client) -> Iterator[Finding]:
    """Every file of every finished job, compared with what the service lists."""
    count, total_bytes, bad = 0, 0, 0
    for job in client.jobs.list(status="succeeded"):
        for artifact in client.jobs.artifacts(job.id):
            trouble = _trouble_with(client, job.id, artifact)
            count, total_bytes = count + 1, total_bytes + artifact.bytes
            if trouble:
                bad += 1
                yield Finding(
                    "artifact", False, f"{job.id}/{artifact.path}: {trouble}", "restore storage from a backup"
                )
    yield Finding("artifacts", not bad, f"{count - bad} of {count} files verified, {formats.size(total_bytes)}")


def _trouble_with(client: Client, job_id: str, artifact: Artifact) -> str | None:
    href = artifact.href or f"/v1/jobs/{job_id}/artifacts/{artifact.path}"

    def make_request() -> httpx.Request:
        return client.transport.http.build_request("GET", href, headers={"Accept-Encoding": "identity"})

    try:
        with client.transport.stream(make_request) as response:
            return None if remote_sha256(response) == artifact.sha256 else "its SHA-256 is not the listed one"
    except ApiError as error:
        return error.detail
    except (ServerUnreachable, httpx.TransportError) as error:
        return f"the download was cut off: {error}"
