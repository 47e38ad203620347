"""Models: uploaded ones and students that jobs made."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from core.database import Hold, held
from core.errors import ModelInUse, ModelNotFound
from core.jobs import active_job_using
from core.pages import Cursor, Page, page_of
from core.tables import Artifact, Model


def student_of(job_id: str) -> str:
    """The id of the model that a job makes. Its files lie below `models/<id>` before there is a row of it."""
    return job_id.replace("job_", "model_", 1)


def folders_of_jobs(session: Session, job_ids: Sequence[str]) -> list[str]:
    """Where deleted jobs have files: also a student that never became a model, but no model."""
    students = {student_of(job_id) for job_id in job_ids}
    models = set(session.scalars(select(Model.id).where(Model.id.in_(students))))
    return [*(f"jobs/{job_id}" for job_id in job_ids), *(f"models/{id_}" for id_ in sorted(students - models))]


@dataclass(frozen=True)
class Models:
    """One owner's models."""

    session: Session
    owner: str

    def add(self, model: Model) -> Model:
        assert model.owner == self.owner
        self.session.add(model)
        self.session.flush()
        self.session.refresh(model)
        return model

    def find(self, reference: str, hold: Hold | None = None) -> Model | None:
        """The model of that name or id, or the one that the job of that id made."""
        named = or_(Model.name == reference, Model.id == reference, Model.job_id == reference)
        # A name is looked for first: it is what the user chose.
        query = (
            select(Model).where(Model.owner == self.owner, named).order_by((Model.name == reference).desc()).limit(1)
        )
        return self.session.scalars(held(query, hold)).one_or_none()

    def get(self, reference: str, hold: Hold | None = None) -> Model:
        """Return the model. Raises ModelNotFound, also for another owner's."""
        model = self.find(reference, hold)
        if model is None:
            raise ModelNotFound(reference)
        return model

    def page(self, cursor: Cursor) -> Page[Model]:
        return page_of(self.session, select(Model).where(Model.owner == self.owner), Model, cursor)

    def delete(self, reference: str) -> Model:
        """Forget a model that no active job reads. The caller sees to its files."""
        model = self.get(reference, hold="to_delete")
        job_id = active_job_using(self.session, model_id=model.id)
        if job_id is not None:
            raise ModelInUse(reference, job_id)
        # A student's files are its job's artifacts too: they go with it, so that none is listed that cannot be read.
        self.session.execute(
            delete(Artifact).where(Artifact.blob_key.startswith(f"models/{model.id}/", autoescape=True))
        )
        self.session.delete(model)
        return model
