"""`distill download`: the student, everything, or a checkpoint; continued where it was cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from distill_client.cli import formats
from distill_client.cli.app import JobId, JsonFlag, app, connect
from distill_client.cli.failures import CommandFailed
from distill_client.cli.output import write, write_json
from distill_client.cli.watch import byte_bar
from distill_client.client import Client
from distill_client.download import below

Force = Annotated[bool, typer.Option("--force", help="Replace other files of the same names.")]


@app.command()
def download(
    ctx: typer.Context,
    job_id: JobId,
    to: Annotated[Path | None, typer.Option(help="The folder; without it one with the job's id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="With the teacher, where the job trained it.")] = False,
    checkpoint: Annotated[str | None, typer.Option(help="A checkpoint's id, or `latest`, as a zip.")] = None,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Download the student into a folder that transformers loads as it is. Every file's SHA-256 is checked."""
    folder = folder_for(to, job_id)
    with connect(ctx) as client, byte_bar(job_id, quiet=as_json) as on_progress:
        if checkpoint is not None:
            chosen = _newest(client, job_id) if checkpoint == "latest" else checkpoint
            files = [client.jobs.download_checkpoint(job_id, chosen, below(folder, f"{chosen}.zip"), on_progress)]
        elif everything:
            files = list(client.jobs.download_folder(job_id, folder, on_progress=on_progress, replace=force))
        else:
            files = list(client.jobs.download_student(job_id, folder, on_progress, replace=force))
    if not files:
        raise CommandFailed(f"{job_id} has nothing to download yet", f"watch it: distill watch {job_id}")
    tell(files, folder, as_json)


def folder_for(to: Path | None, name: str) -> Path:
    """Return where a download goes: the folder that was chosen, or one of this name here."""
    folder = to or below(Path(), name)
    if folder.exists() and not folder.is_dir():
        raise CommandFailed(f"{folder} is a file", "choose a folder with --to")
    return folder


def _newest(client: Client, job_id: str) -> str:
    newest = next(client.jobs.checkpoints(job_id), None)
    if newest is None:
        raise CommandFailed(f"{job_id} has no checkpoint yet")
    return newest.id


def tell(files: Sequence[Path], folder: Path, as_json: bool) -> None:
    """Say what was downloaded."""
    if as_json:
        for file in files:
            write_json({"path": str(file), "bytes": file.stat().st_size})
        return
    total_bytes = sum(file.stat().st_size for file in files)
    what = "1 file" if len(files) == 1 else f"{len(files)} files"
    write(f"{what}, {formats.size(total_bytes)}, in {folder}")
