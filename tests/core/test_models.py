"""Models are found by name, by id, or by the job that made them, and only by their owner."""

import pytest
from sqlalchemy.exc import IntegrityError

from core.artifacts import artifacts_of
from core.database import Database
from core.errors import ModelInUse, ModelNotFound
from core.jobs import Jobs
from core.models import Models
from core.pages import Cursor
from core.tables import Artifact, Model
from tests.core.rows import DIGEST, OWNER, add_job, model_row


def added(database: Database, model: Model) -> str:
    with database.write() as session:
        model_id = Models(session, model.owner).add(model).id
        session.commit()
    return model_id


def artifact_row(job_id: str, path: str, blob_key: str) -> Artifact:
    return Artifact(job_id=job_id, path=path, bytes=1, sha256=DIGEST, media_type="text/plain", blob_key=blob_key)


def test_a_model_answers_to_its_name_its_id_and_its_job(database: Database) -> None:
    model_id = added(database, model_row("small", job_id="job_1"))
    with database.read() as session:
        assert {Models(session, OWNER).get(reference).id for reference in ("small", model_id, "job_1")} == {model_id}
        assert Models(session, OWNER).find("smal") is None


def test_a_name_outranks_a_job_of_the_same_spelling(database: Database) -> None:
    added(database, model_row("student", job_id="job_1"))
    named = added(database, model_row("job_1"))
    with database.read() as session:
        assert Models(session, OWNER).get("job_1").id == named


def test_two_owners_may_use_one_name_and_one_owner_may_not_twice(database: Database) -> None:
    mine, others = added(database, model_row("teacher")), added(database, model_row("teacher", "other"))
    with database.read() as session:
        assert Models(session, OWNER).get("teacher").id == mine
        assert Models(session, "other").get("teacher").id == others
        assert [model.id for model in Models(session, OWNER).page(Cursor()).rows] == [mine]
        with pytest.raises(ModelNotFound):
            Models(session, OWNER).get(others)
    with database.write() as session, pytest.raises(IntegrityError):
        Models(session, OWNER).add(model_row("teacher"))


def test_a_model_stays_while_an_active_job_reads_it(database: Database) -> None:
    model_id = added(database, model_row("teacher"))
    job_id = add_job(database, model_ids=(model_id,))
    with database.write() as session:
        with pytest.raises(ModelInUse) as refused:
            Models(session, OWNER).delete("teacher")
        assert refused.value.args == ("teacher", job_id)
        Jobs(session, OWNER).cancel(job_id)
        assert Models(session, OWNER).delete("teacher").id == model_id
        session.commit()
    with database.read() as session:
        assert Models(session, OWNER).find("teacher") is None


def test_a_students_files_leave_its_jobs_list_with_it_and_the_report_stays(database: Database) -> None:
    job_id = add_job(database)
    model_id = added(database, model_row("small", job_id=job_id))
    with database.write() as session:
        session.add(artifact_row(job_id, "model.safetensors", f"models/{model_id}/1/model.safetensors"))
        session.add(artifact_row(job_id, "config.json", f"models/{model_id}x/1/config.json"))
        session.add(artifact_row(job_id, "report.json", f"jobs/{job_id}/artifacts/1/report.json"))
        session.flush()
        Models(session, OWNER).delete("small")
        session.commit()
    with database.read() as session:
        assert [artifact.path for artifact in artifacts_of(session, job_id)] == ["config.json", "report.json"]
