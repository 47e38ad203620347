"""Files of what is deleted: noted in the transaction that deletes, until the storage has deleted them as well."""

from collections.abc import Sequence

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.blobs import Blobs
from core.clock import database_now
from core.database import Database
from core.errors import StorageUnavailable
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
    """Delete noted folders; what a storage that is away does not take now, the sweeper tries again."""
    try:
        for folder in folders:
            blobs.delete_below(folder)
            with database.write() as session:
                session.execute(delete(DeletedFolder).where(DeletedFolder.folder == folder))
                session.commit()
    except StorageUnavailable as error:
        log.warning("files are deleted later", reason=str(error))


def overdue(session: Session) -> Sequence[str]:
    """Return some folders that were noted a while ago."""
    is_old = DeletedFolder.deleted_at < database_now(-SECONDS_BEFORE_RETRY)
    return session.scalars(select(DeletedFolder.folder).where(is_old).limit(MOST_AT_ONCE)).all()
