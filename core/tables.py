"""The rows. Tables are made by migrations/ alone, tests included."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.clock import UtcTime, database_now
from core.lifecycle import JobStatus

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Json = dict[str, Any]


class Row(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        datetime: UtcTime(),
        Json: JSON(),
        list[Any]: JSON(),
        str: String(),
        int: BigInteger(),
    }


class Job(Row):
    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str | None]
    task: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(default=JobStatus.QUEUED)
    stage: Mapped[str | None]
    spec: Mapped[Json]
    dataset_id: Mapped[str]
    """The data set's id, or org/name of a hub: no foreign key, since a finished job may outlive its data set."""

    attempt: Mapped[int] = mapped_column(default=1)
    times_lost: Mapped[int] = mapped_column(default=0)
    lease_token: Mapped[str | None]
    """The fencing token: every write of a worker is conditional on it."""
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None]
    published_at: Mapped[datetime | None]
    """The outbox: NULL until the broker has taken the id."""

    version: Mapped[int] = mapped_column(default=1)
    """Grows with every change; the ETag."""
    event_count: Mapped[int] = mapped_column(default=0)
    metric_count: Mapped[int] = mapped_column(default=0)
    seconds_run: Mapped[float] = mapped_column(default=0.0)
    """Running time of all attempts, which max_minutes limits."""

    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())
    queued_at: Mapped[datetime] = mapped_column(default=database_now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    progress: Mapped[Json] = mapped_column(default=dict)
    metrics: Mapped[Json] = mapped_column(default=dict)
    sizes: Mapped[Json | None]
    report: Mapped[Json | None]
    warnings: Mapped[list[Any]] = mapped_column(default=list)
    error: Mapped[Json | None]
    estimate: Mapped[Json | None]

    __table_args__ = (
        Index(None, "owner", "id"),
        Index(None, "owner", "status", "id"),
        Index(None, "status", "lease_expires_at"),
        Index(None, "status", "queue", "priority"),
        Index(None, "dataset_id", "status"),
    )


class JobLabel(Row):
    __tablename__ = "job_labels"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]

    __table_args__ = (Index(None, "key", "value", "job_id"),)


class JobModel(Row):
    """That a job reads a model, so that the model is not deleted under it."""

    __tablename__ = "job_models"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[str] = mapped_column(primary_key=True)

    __table_args__ = (Index(None, "model_id"),)


class Event(Row):
    __tablename__ = "events"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    seq: Mapped[int]
    """1, 2, 3 … within the job, in the order of commits: what a stream resumes from."""
    type: Mapped[str]
    level: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[Json] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (UniqueConstraint("job_id", "seq"),)


class Metric(Row):
    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    seq: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (Index(None, "job_id", "seq"),)


class Checkpoint(Row):
    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    phase: Mapped[str]
    step: Mapped[int]
    attempt: Mapped[int]
    metrics: Mapped[Json] = mapped_column(default=dict)
    bytes: Mapped[int]
    files: Mapped[list[Any]]
    """`{"path", "bytes", "sha256"}` of each file below `jobs/<job>/checkpoints/<id>/`."""
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (Index(None, "job_id", "phase", "step"),)


class Artifact(Row):
    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[int]
    sha256: Mapped[str]
    media_type: Mapped[str]
    blob_key: Mapped[str]


class Dataset(Row):
    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    filename: Mapped[str]
    media_type: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    examples: Mapped[int]
    columns: Mapped[list[Any]]
    """`{"name", "type", "nulls", "values"}` of each column; `values`: value -> count where there are few, `not_chats`:
    where it first holds something else than a chat."""
    content_key: Mapped[str]
    """The blob as it was uploaded."""
    examples_key: Mapped[str]
    """The same, checked and typed once, as Parquet: what a worker reads."""
    examples_bytes: Mapped[int]
    examples_sha256: Mapped[str]
    derived_from: Mapped[str | None]
    """The job whose teacher wrote it; NULL where it was uploaded. The job may be gone."""
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (Index(None, "owner", "id"),)


class Model(Row):
    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    source: Mapped[str]
    """`uploaded` or `distilled`."""
    job_id: Mapped[str | None]
    task: Mapped[str | None]
    """`text-classification`, `text-generation`, `image-classification` (a bare body of images has no labels), or NULL
    for a bare encoder."""
    architecture: Mapped[str]
    labels: Mapped[list[Any] | None]
    """The class names in the head's order."""
    layers: Mapped[int | None]
    parameters: Mapped[int]
    embedding_parameters: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str]
    """Of the sorted list of the files' own hashes: the weights' identity."""
    files: Mapped[list[Any]]
    """`{"path", "bytes", "sha256", "blob_key"}` of each file."""
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (UniqueConstraint("owner", "name"), Index(None, "owner", "id"), Index(None, "job_id"))


class Sweep(Row):
    """One spec and the values of some of its fields: a job for each combination."""

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str | None]
    base: Mapped[Json]
    """The spec as the user wrote it, where the grid says nothing else."""
    grid: Mapped[Json]
    """Values by path, such as `{"T": [1, 2], "training.seed": [1, 2, 3]}`."""
    notes: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (Index(None, "owner", "id"),)


class SweepPoint(Row):
    """One combination of a sweep's values, and the job that tries it."""

    __tablename__ = "sweep_points"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    """1, 2, 3 … in the order of the grid."""
    values: Mapped[Json]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    """NULL once its job was deleted."""
    baseline_job_id: Mapped[str | None]
    """The job that trains the baseline of this point too; NULL where there is none. It may be gone."""

    __table_args__ = (Index(None, "job_id"),)


class ApiKey(Row):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the key. The key has 256 random bits, so a slow hash would add nothing."""
    hint: Mapped[str]
    """Its first characters, to tell keys apart."""
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Secret(Row):
    """A value that jobs use and nobody reads back, such as a vendor's API key."""

    __tablename__ = "secrets"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    sealed: Mapped[str] = mapped_column(Text)
    """Encrypted with a key that the database does not hold."""
    created_at: Mapped[datetime] = mapped_column(default=database_now())
    updated_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (UniqueConstraint("owner", "name"), Index(None, "owner", "id"))


class IdempotentAnswer(Row):
    """The stored answer of a POST that carried an Idempotency-Key; `status` is NULL while the first is in flight."""

    __tablename__ = "idempotent_answers"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[Json] = mapped_column(default=dict)
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=database_now())

    __table_args__ = (Index(None, "created_at"),)


class DeletedFolder(Row):
    """A folder of blobs whose rows are gone, until the storage has deleted it too."""

    __tablename__ = "deleted_folders"

    folder: Mapped[str] = mapped_column(primary_key=True)
    deleted_at: Mapped[datetime] = mapped_column(default=database_now())


class Worker(Row):
    """A worker's own word that it lives; /v1/system shows it."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[Any]]
    devices: Mapped[list[Any]]
    versions: Mapped[Json]
    job_id: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(default=database_now())
    heartbeat_at: Mapped[datetime] = mapped_column(default=database_now())
