"""What a finished training leaves: files in storage, then one commit that makes all of it visible."""

import mimetypes
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core import leases
from core.artifacts import artifacts_of, replace_artifacts
from core.blobs import Blobs
from core.database import Database
from core.errors import StorageUnavailable
from core.events import record_event
from core.leases import Lease
from core.lifecycle import JobStatus
from core.models import Models, student_of
from core.report import Report
from core.spec import JobSpec
from core.tables import Artifact, Job, Model
from worker.inputs import sha256_of_files
from worker.patience import Moved, put_patiently, unheard

TEXTS = frozenset({"texts.jsonl", "kept.parquet"})
REPORTS = TEXTS | {"report.json", "report.html", "spec.json", "MANIFEST.json", "README.md"}
MEDIA_TYPES = {
    ".safetensors": "application/octet-stream",
    ".md": "text/markdown",
    ".jinja": "text/plain",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
}


class Results:
    """Stores one attempt's export. Its blobs carry the attempt, so that no stale worker can touch a later one's."""

    def __init__(self, blobs: Blobs, job: Job) -> None:
        self.blobs, self.job = blobs, job
        # A student is a model of its own: it outlives its job's deletion, so its files lie with the models.
        self.model_id = student_of(job.id)
        self.artifacts: list[Artifact] = []
        self.keys: set[str] = set()
        """Of every file, from before it is stored: a put that fails may have stored it."""

    def upload(self, folder: Path, moved: Moved = unheard) -> None:
        """Store every exported file; after a failure they are withdrawn. Raises DiskFull, StorageUnavailable."""
        try:
            self._upload(folder, moved)
        except Exception:
            self.withdraw()
            raise

    def _upload(self, folder: Path, moved: Moved) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            relative = path.relative_to(folder).as_posix()
            is_student = "/" not in relative and relative not in REPORTS
            place = f"models/{self.model_id}" if is_student else f"jobs/{self.job.id}/artifacts"
            key = f"{place}/{self.job.attempt}/{relative}"
            self.keys.add(key)
            stored = put_patiently(self.blobs, key, path, moved)
            artifact = Artifact(
                job_id=self.job.id,
                path=relative,
                bytes=stored.bytes,
                sha256=stored.sha256,
                media_type=_media_type(path),
                blob_key=stored.key,
            )
            self.artifacts.append(artifact)

    def finish(self, database: Database, lease: Lease, report: Report) -> JobStatus | None:
        """Make all of it visible at once. Returns None if the lease is lost: then nothing is.

        It may be called again where nobody heard whether the database committed.
        """
        with database.write() as session:
            status = leases.succeed(session, lease, report.model_dump(mode="json"))
            if status == JobStatus.SUCCEEDED:
                replace_artifacts(session, self.job.id, self.artifacts)
                session.merge(self._model(session, report))
            session.commit()
        if status == JobStatus.SUCCEEDED or self._is_visible(database):
            return JobStatus.SUCCEEDED
        self.withdraw()
        return status

    def _is_visible(self, database: Database) -> bool:
        """Tell whether an earlier call committed, though its answer was lost: files have its attempt's number."""
        with database.read() as session:
            job = session.get(Job, self.job.id)
            kept = {artifact.blob_key for artifact in artifacts_of(session, self.job.id)}
        return job is not None and job.status == JobStatus.SUCCEEDED and self.keys <= kept

    def withdraw(self) -> None:
        """Delete what this attempt stored, but not what a teacher wrote: that stays whatever becomes of the job."""
        for key in self.keys:
            if key.rpartition("/")[2] not in TEXTS:
                # What cannot be deleted now goes with the job.
                with suppress(StorageUnavailable):
                    self.blobs.delete(key)

    def _model(self, session: Session, report: Report) -> Model:
        spec = JobSpec.model_validate(self.job.spec)
        student = [file for file in self.artifacts if file.blob_key.startswith(f"models/{self.model_id}/")]
        files = [
            {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "blob_key": file.blob_key}
            for file in student
        ]
        facts = report.student
        return Model(
            id=self.model_id,
            owner=self.job.owner,
            name=self._name(session, spec.output.model),
            source="distilled",
            job_id=self.job.id,
            task=report.task,
            architecture=facts.architecture,
            labels=None if report.task == "text-generation" else report.labels,
            layers=facts.layers,
            parameters=report.student_after.parameters,
            embedding_parameters=facts.embedding_parameters,
            bytes=sum(file.bytes for file in student),
            sha256=sha256_of_files({file.path: file.sha256 for file in student}),
            files=files,
        )

    def _name(self, session: Session, wanted: str | None) -> str:
        if wanted is None:
            return self.job.id
        taken = Models(session, self.job.owner).find(wanted)
        if taken is None or taken.id == self.model_id:
            return wanted
        message = f"The name '{wanted}' was taken meanwhile; the student is model '{self.job.id}'"
        record_event(session, self.job.id, message, level="warning")
        return self.job.id


def _media_type(path: Path) -> str:
    guessed: Any = mimetypes.guess_type(path.name)[0]
    return MEDIA_TYPES.get(path.suffix) or guessed or "application/octet-stream"
