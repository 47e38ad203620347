"""What a job left to download: artifacts of a finished one, texts that its teacher wrote, checkpoints of any."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.errors import ArtifactNotFound, CheckpointNotFound
from core.pages import Cursor, Page, page_of
from core.tables import Artifact, Checkpoint


def artifacts_of(session: Session, job_id: str) -> Sequence[Artifact]:
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.path)).all()


def artifact(session: Session, job_id: str, path: str) -> Artifact:
    """Return one artifact. Raises ArtifactNotFound. The caller has checked whose job it is."""
    found = session.get(Artifact, (job_id, path))
    if found is None:
        raise ArtifactNotFound(job_id, path)
    return found


def replace_artifacts(session: Session, job_id: str, artifacts: Sequence[Artifact]) -> None:
    """Make `artifacts` the job's only ones; an earlier attempt may have left others."""
    session.execute(delete(Artifact).where(Artifact.job_id == job_id))
    session.add_all(artifacts)
    session.flush()


def put_artifact(session: Session, artifact: Artifact) -> None:
    """Add one file to what the job left, or replace the one of the same path."""
    session.merge(artifact)
    session.flush()


def checkpoint_page(session: Session, job_id: str, cursor: Cursor) -> Page[Checkpoint]:
    return page_of(session, select(Checkpoint).where(Checkpoint.job_id == job_id), Checkpoint, cursor)


def checkpoint(session: Session, job_id: str, checkpoint_id: str) -> Checkpoint:
    """Return one checkpoint. Raises CheckpointNotFound. The caller has checked whose job it is."""
    query = select(Checkpoint).where(Checkpoint.id == checkpoint_id, Checkpoint.job_id == job_id)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise CheckpointNotFound(checkpoint_id)
    return found


def checkpoints_of(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Every checkpoint, the newest of each phase first."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id)
    newest = (Checkpoint.attempt.desc(), Checkpoint.step.desc(), Checkpoint.id.desc())
    return session.scalars(query.order_by(Checkpoint.phase, *newest)).all()
