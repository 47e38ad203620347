"""The smallest rows that tests of core need."""

from typing import Any

from sqlalchemy import func, select, update

from core.clock import database_now
from core.database import Database
from core.ids import make_id
from core.jobs import Jobs
from core.leases import Lease, claim
from core.spec import JobSpec
from core.tables import Dataset, Job, Model

OWNER = "me"
SMALLEST = {"teacher": "t", "student": "s", "dataset": "ds_1", "task": "text-classification"}
DIGEST = "0" * 64


def spec_of(**changes: Any) -> JobSpec:
    return JobSpec.model_validate({**SMALLEST, **changes})


def add_job(database: Database, owner: str = OWNER, model_ids: tuple[str, ...] = (), **changes: Any) -> str:
    """Store a queued job and return its id."""
    with database.write() as session:
        job_id = Jobs(session, owner).add(spec_of(**changes), model_ids=model_ids).id
        session.commit()
    return job_id


def lease_of(job_id: str, token: str = "token", seconds: float = 60.0) -> Lease:
    return Lease(job_id, token, f"worker of {token}", seconds)


def claimed(database: Database, token: str = "token", **changes: Any) -> Lease:
    """Store a job, claim it, return the lease."""
    lease = lease_of(add_job(database, **changes), token)
    with database.write() as session:
        assert claim(session, lease) is not None
        session.commit()
    return lease


def job_row(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def set_job(database: Database, job_id: str, **values: Any) -> None:
    """Change a row past all rules, as time or an accident would."""
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))
        session.commit()


def let_lease_expire(database: Database, job_id: str) -> None:
    set_job(database, job_id, lease_expires_at=database_now(-1))


def count(database: Database, row: type[Any], *conditions: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(row).where(*conditions)) or 0


def dataset_row(owner: str = OWNER, derived_from: str | None = None) -> Dataset:
    dataset_id = make_id("ds")
    return Dataset(
        id=dataset_id,
        owner=owner,
        name="snippets",
        filename="snippets.jsonl",
        media_type="application/jsonl",
        bytes=10,
        sha256=DIGEST,
        examples=2,
        columns=[],
        content_key=f"datasets/{dataset_id}/content",
        examples_key=f"datasets/{dataset_id}/examples.parquet",
        examples_bytes=20,
        examples_sha256=DIGEST,
        derived_from=derived_from,
    )


def model_row(name: str, owner: str = OWNER, job_id: str | None = None) -> Model:
    return Model(
        id=make_id("model"),
        owner=owner,
        name=name,
        source="uploaded" if job_id is None else "distilled",
        job_id=job_id,
        task=None,
        architecture="BertModel",
        labels=None,
        layers=2,
        parameters=100,
        embedding_parameters=50,
        bytes=400,
        sha256=DIGEST,
        files=[],
    )
