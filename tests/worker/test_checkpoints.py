"""A checkpoint is in storage whole or not at all, and a damaged one costs no more than its age."""

import time
from pathlib import Path

import pytest

from core.artifacts import checkpoints_of
from core.blobs import Blobs, Stored
from core.database import Database
from core.errors import DiskFull, StorageUnavailable
from core.events import events_after
from core.leases import Lease
from tests.worker.conftest import MakeJob, claimed
from worker import checkpoints
from worker.checkpoints import checkpoint_folder, keep_checkpoint, restore_checkpoints
from worker.patience import put_patiently

pytestmark = pytest.mark.databases("sqlite")


def write_checkpoint(folder: Path, step: int) -> Path:
    target = folder / f"checkpoint-{step}"
    (target / "inner").mkdir(parents=True)
    (target / "model.safetensors").write_bytes(bytes([step]) * 1000)
    (target / "inner" / "state.json").write_text(f'{{"step": {step}}}')
    return target


def keep(database: Database, blobs: Blobs, lease: Lease, folder: Path, *steps: int) -> None:
    for step in steps:
        assert keep_checkpoint(
            database, blobs, lease, 1, "student", step, write_checkpoint(folder, step), {"loss": 1.0}
        )


def test_the_newest_two_of_a_phase_are_kept_and_come_back(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path
) -> None:
    lease, job = claimed(database, queued())
    keep(database, blobs, lease, tmp_path / "a", 1, 2, 3)
    restore_checkpoints(database, blobs, lease, tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b" / "student").iterdir()) == ["checkpoint-2", "checkpoint-3"]
    assert (tmp_path / "b/student/checkpoint-3/inner/state.json").read_text() == '{"step": 3}'
    assert len({key.split("/")[3] for key, _ in blobs.list_below(f"jobs/{job.id}/checkpoints")}) == 2


@pytest.mark.parametrize("damage", [b"", b"x", bytes([3]) * 999 + b"!"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path, damage: bytes
) -> None:
    lease, job = claimed(database, queued())
    keep(database, blobs, lease, tmp_path / "a", 2, 3)
    with database.read() as session:
        newest = checkpoints_of(session, job.id)[0]
    (tmp_path / "damage").write_bytes(damage)
    blobs.put(f"{checkpoint_folder(job.id, newest.id)}/model.safetensors", tmp_path / "damage")
    restore_checkpoints(database, blobs, lease, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b" / "student").iterdir()] == ["checkpoint-2"]
    with database.read() as session:
        last = events_after(session, job.id, 0, 100)[-1]
    assert last.level == "warning"
    assert "step 3" in last.message


def test_a_checkpoint_without_a_lease_leaves_nothing(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path
) -> None:
    _, job = claimed(database, queued())
    stale = Lease(job.id, "stale", "worker-z", 5)
    assert not keep_checkpoint(database, blobs, stale, 1, "student", 1, write_checkpoint(tmp_path, 1), {})
    assert list(blobs.list_below(f"jobs/{job.id}")) == []


def test_storage_that_is_away_for_a_while_is_waited_for(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"weights")
    folder = Path(str(blobs.store.prefix))
    moved = folder.with_name("away")
    folder.rename(moved)
    folder.write_text("no folder")  # what stands in the way of the folder makes every write fail

    def back(_: float) -> None:
        if moved.exists():
            folder.unlink()
            moved.rename(folder)

    monkeypatch.setattr(time, "sleep", back)
    stored = put_patiently(blobs, "a/b", source)
    assert b"".join(blobs.stream(Stored("a/b", stored.bytes, stored.sha256))) == b"weights"


def test_a_storage_that_stays_away_is_said(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"weights")
    folder = Path(str(blobs.store.prefix))
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises((StorageUnavailable, DiskFull)):
        put_patiently(blobs, "a/b", source)


def test_of_two_of_the_same_step_the_newer_one_comes_back(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path
) -> None:
    lease, _ = claimed(database, queued())
    for word in ("older", "newer"):
        folder = tmp_path / word / "checkpoint-5"
        folder.mkdir(parents=True)
        (folder / "ledger.json").write_text(word)
        assert keep_checkpoint(database, blobs, lease, 1, "writing", 5, folder, {})
    restore_checkpoints(database, blobs, lease, tmp_path / "b")
    assert (tmp_path / "b/writing/checkpoint-5/ledger.json").read_text() == "newer"


def test_a_later_attempt_on_a_worker_whose_clock_is_behind_keeps_its_checkpoints(
    database: Database, blobs: Blobs, queued: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, job = claimed(database, queued())
    keep(database, blobs, lease, tmp_path / "a", 1, 2)
    behind = iter(["ckpt_0001", "ckpt_0002", "ckpt_0003"])
    monkeypatch.setattr(checkpoints, "make_id", lambda prefix: next(behind))
    for step in (2, 3):
        folder = write_checkpoint(tmp_path / "later", step)
        (folder / "attempt").write_text("2")
        assert keep_checkpoint(database, blobs, lease, 2, "student", step, folder, {})
    with database.read() as session:
        assert [row.id for row in checkpoints_of(session, job.id)] == ["ckpt_0002", "ckpt_0001"]
    restore_checkpoints(database, blobs, lease, tmp_path / "b")
    restored = sorted((tmp_path / "b" / "student").iterdir())
    assert [path.name for path in restored] == ["checkpoint-2", "checkpoint-3"]
    assert (restored[0] / "attempt").read_text() == "2"
    assert len({key.split("/")[3] for key, _ in blobs.list_below(f"jobs/{job.id}/checkpoints")}) == 2
