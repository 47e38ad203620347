"""What a job left: artifacts by path, checkpoints newest first."""

import pytest

from core.artifacts import artifact, artifacts_of, checkpoint, checkpoint_page, checkpoints_of, replace_artifacts
from core.database import Database
from core.errors import ArtifactNotFound, CheckpointNotFound
from core.ids import make_id
from core.pages import Cursor
from core.tables import Artifact, Checkpoint
from tests.core.rows import DIGEST, add_job


def artifact_row(job_id: str, path: str) -> Artifact:
    key = f"jobs/{job_id}/{path}"
    return Artifact(job_id=job_id, path=path, bytes=1, sha256=DIGEST, media_type="text/plain", blob_key=key)


def kept(database: Database, job_id: str, phase: str, step: int) -> str:
    checkpoint_id = make_id("ckpt")
    with database.write() as session:
        session.add(
            Checkpoint(
                id=checkpoint_id, job_id=job_id, phase=phase, step=step, attempt=1, bytes=1, files=[], metrics={}
            )
        )
        session.commit()
    return checkpoint_id


def test_a_later_attempts_artifacts_replace_the_earlier_ones(database: Database) -> None:
    job_id, other = add_job(database), add_job(database)
    for paths in (["config.json", "old.txt"], ["config.json", "a/new.txt"]):
        with database.write() as session:
            replace_artifacts(session, job_id, [artifact_row(job_id, path) for path in paths])
            session.commit()
    with database.read() as session:
        assert [found.path for found in artifacts_of(session, job_id)] == ["a/new.txt", "config.json"]
        assert artifact(session, job_id, "a/new.txt").bytes == 1
        for wanted in ((job_id, "old.txt"), (other, "config.json")):
            with pytest.raises(ArtifactNotFound):
                artifact(session, *wanted)


def test_the_newest_checkpoint_of_each_phase_comes_first(database: Database) -> None:
    job_id = add_job(database)
    ids = {(phase, step): kept(database, job_id, phase, step) for phase in ("student", "teaching") for step in (10, 2)}
    with database.read() as session:
        order = [(found.phase, found.step) for found in checkpoints_of(session, job_id)]
        assert order == [("student", 10), ("student", 2), ("teaching", 10), ("teaching", 2)]
        page = checkpoint_page(session, job_id, Cursor(limit=3, order="asc"))
        assert ([found.id for found in page.rows], page.has_more) == (list(ids.values())[:3], True)


def test_a_checkpoint_is_its_jobs_alone(database: Database) -> None:
    job_id, other = add_job(database), add_job(database)
    checkpoint_id = kept(database, job_id, "student", 1)
    with database.read() as session:
        assert checkpoint(session, job_id, checkpoint_id).step == 1
        with pytest.raises(CheckpointNotFound):
            checkpoint(session, other, checkpoint_id)
