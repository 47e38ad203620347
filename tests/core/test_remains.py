"""Files of what is deleted go with it, or later."""

from pathlib import Path

import pytest
from sqlalchemy import select

from core import remains
from core.blobs import Blobs
from core.database import Database
from core.tables import DeletedFolder

FOLDERS = ["jobs/one", "models/one"]


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    blobs, file = Blobs((tmp_path / "blobs").as_uri()), tmp_path / "file"
    file.write_text("content")
    for folder in (*FOLDERS, "jobs/other"):
        blobs.put(f"{folder}/file", file)
    return blobs


def noted(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(DeletedFolder.folder)))


def leave(database: Database) -> None:
    with database.write() as session:
        remains.leave(session, FOLDERS)
        remains.leave(session, FOLDERS)
        session.commit()


def test_they_go_and_are_forgotten(database: Database, blobs: Blobs) -> None:
    leave(database)
    remains.clear(database, blobs, FOLDERS)
    assert [key for folder in ("jobs", "models") for key, _ in blobs.list_below(folder)] == ["jobs/other/file"]
    assert not noted(database)


def test_a_storage_that_is_away_is_asked_again_later(
    database: Database, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(database)
    store, away = tmp_path / "blobs", tmp_path / "away"
    store.rename(away)
    store.write_text("a file where the folder was")
    remains.clear(database, blobs, FOLDERS)
    assert noted(database) == FOLDERS, "one that cannot be deleted does not keep the others from being tried"
    store.unlink()
    away.rename(store)
    with database.read() as session:
        assert not remains.overdue(session), "whoever deleted is at it"
        monkeypatch.setattr(remains, "SECONDS_BEFORE_RETRY", -1.0)
        overdue = remains.overdue(session)
    remains.clear(database, blobs, overdue)
    assert [key for folder in ("jobs", "models") for key, _ in blobs.list_below(folder)] == ["jobs/other/file"]
    assert not noted(database)
