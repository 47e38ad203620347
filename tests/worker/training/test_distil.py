"""A whole job, from a spec and files to a student that plain transformers loads."""

from tests.worker.training.conftest import Lab, Notebook


def test_a_job_yields_a_student_and_a_report(lab: Lab) -> None:
    notebook = Notebook()
    outcome = lab.run(notebook)
    assert notebook.stages == ["loading", "teaching", "training", "evaluating", "exporting"]
    assert (outcome.student / "MANIFEST.json").exists()
