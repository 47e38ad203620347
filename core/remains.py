"""Files of what is deleted: noted in the transaction that deletes, until the storage has deleted them as well.

Only folders that nothing is stored in again: their keys hold an id, or an id and an attempt.
"""

from collections.abc import Sequence

import structlog
from sqlalchemy import Delete, Update, delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.blobs import Blobs
from core.clock import database_now
from core.database import Database
from core.errors import DistillError
from core.tables import DeletedFolder

log = structlog.get_logger()

SECONDS_BEFORE_RETRY = 60.0
"""Whoever deleted is at it until then."""
MOST_AT_ONCE = 100


def leave(session: Session, folders: Sequence[str]) -> None:
    """Note folders of blobs whose rows go in this transaction."""
    for folder in folders:
        session.merge(DeletedFolder(folder=folder))


def clear(database: Database, blobs: Blobs, folders: Sequence[str]) -> None:
    """Delete noted folders; what cannot be deleted now, the sweeper tries again."""
    try:
        for folder in folders:
            _clear(database, blobs, folder)
    except DBAPIError as error:
        log.warning("files are deleted later", reason=str(error).splitlines()[0])


def _clear(database: Database, blobs: Blobs, folder: str) -> None:
    is_this = DeletedFolder.folder == folder
    settled: Delete | Update = delete(DeletedFolder).where(is_this)
    try:
        blobs.delete_below(folder)
    except DistillError as error:
        log.warning("files are deleted later", folder=folder, reason=str(error))
        settled = update(DeletedFolder).where(is_this).values(deleted_at=database_now())
    with database.write() as session:
        session.execute(settled)
        session.commit()


def overdue(session: Session) -> Sequence[str]:
    """Return some folders that were noted, or tried, a while ago: those that wait longest."""
    query = select(DeletedFolder.folder).where(DeletedFolder.deleted_at < database_now(-SECONDS_BEFORE_RETRY))
    return session.scalars(query.order_by(DeletedFolder.deleted_at).limit(MOST_AT_ONCE)).all()
