"""Checkpoints between a work folder and storage. The newest two of each phase are kept."""

import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import leases
from core.artifacts import checkpoints_of
from core.blobs import Blobs, Stored
from core.database import Database
from core.errors import BlobDamaged, BlobMissing
from core.events import record_event
from core.ids import make_id
from core.leases import Lease
from core.remains import clear, leave
from core.tables import Checkpoint
from worker.patience import Moved, fetch_patiently, patiently, put_patiently, unheard

KEPT_PER_PHASE = 2


def checkpoint_folder(job_id: str, checkpoint_id: str) -> str:
    """Where a checkpoint's blobs lie."""
    return f"jobs/{job_id}/checkpoints/{checkpoint_id}"


def keep_checkpoint(
    database: Database,
    blobs: Blobs,
    lease: Lease,
    attempt: int,
    phase: str,
    step: int,
    folder: Path,
    metrics: Mapping[str, float],
    moved: Moved = unheard,
) -> bool:
    """Store a checkpoint, then its row: it is there whole or not at all. Returns False if the lease is lost."""
    checkpoint_id = make_id("ckpt")
    files = put_folder(blobs, checkpoint_folder(lease.job_id, checkpoint_id), folder, moved)
    row = Checkpoint(
        id=checkpoint_id,
        job_id=lease.job_id,
        phase=phase,
        step=step,
        attempt=attempt,
        metrics=dict(metrics),
        bytes=sum(file["bytes"] for file in files),
        files=files,
    )
    outdated = _write_row(database, lease, row)
    if outdated is None:
        blobs.delete_below(checkpoint_folder(lease.job_id, checkpoint_id))
        return False
    clear(database, blobs, outdated)
    return True


def put_folder(blobs: Blobs, key: str, folder: Path, moved: Moved = unheard) -> list[dict[str, Any]]:
    """Store every file below `folder`; returns path, bytes and sha256 of each. Raises StorageUnavailable."""
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder).as_posix()
        stored = put_patiently(blobs, f"{key}/{relative}", path, moved)
        files.append({"path": relative, "bytes": stored.bytes, "sha256": stored.sha256})
    return files


def restore_checkpoints(database: Database, blobs: Blobs, lease: Lease, folder: Path, moved: Moved = unheard) -> None:
    """Put the newest checkpoints of an earlier attempt into `folder/<phase>/checkpoint-<step>`.

    A damaged one is passed over with an event; the older one is used, or training starts anew.
    """
    for checkpoint in patiently(lease, lambda: _checkpoints(database, lease.job_id)):
        target = folder / checkpoint.phase / f"checkpoint-{checkpoint.step}"
        if target.exists():
            continue  # the newer one of the same step is there
        try:
            for file in checkpoint.files:
                key = f"{checkpoint_folder(lease.job_id, checkpoint.id)}/{file['path']}"
                stored = Stored(key, file["bytes"], file["sha256"])
                fetch_patiently(blobs, stored, target / file["path"], moved)
        except (BlobDamaged, BlobMissing) as damage:
            shutil.rmtree(target, ignore_errors=True)
            message = f"Checkpoint of step {checkpoint.step} ({checkpoint.phase}) cannot be used: {damage}"
            patiently(lease, partial(_warn, database, lease.job_id, message))


def _checkpoints(database: Database, job_id: str) -> Sequence[Checkpoint]:
    with database.read() as session:
        return checkpoints_of(session, job_id)


def _warn(database: Database, job_id: str, message: str) -> None:
    with database.write() as session:
        record_event(session, job_id, message, level="warning")
        session.commit()


def _write_row(database: Database, lease: Lease, row: Checkpoint) -> list[str] | None:
    """Insert the row and forget the outdated ones, whose folders are returned; None if the lease is lost."""
    deadline = time.monotonic() + lease.seconds
    while True:
        try:
            with database.write() as session:
                if leases.renew(session, lease, {}) is None:
                    return None
                session.merge(row)
                session.flush()
                outdated = _forget_outdated(session, row)
                session.commit()
                return outdated
        except DBAPIError:
            if time.monotonic() > deadline:
                return None
            time.sleep(1)


def _forget_outdated(session: Session, newest: Checkpoint) -> list[str]:
    query = select(Checkpoint.id).where(Checkpoint.job_id == newest.job_id, Checkpoint.phase == newest.phase)
    # An id tells the time of the clock of its worker, which may be behind that of the one before.
    query = query.order_by(Checkpoint.attempt.desc(), Checkpoint.step.desc(), Checkpoint.id.desc())
    ids = session.scalars(query.offset(KEPT_PER_PHASE)).all()
    if ids:
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_(ids)))
    folders = [checkpoint_folder(newest.job_id, checkpoint_id) for checkpoint_id in ids]
    leave(session, folders)
    return folders
