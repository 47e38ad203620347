"""A whole job, from a spec and files to a student, and its ways to stop."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from core.errors import DiskFull
from core.report import ClassificationReport
from core.wire import Stage
from tests.worker.training.conftest import Lab, Notebook, sentences, write_parquet
from worker.training.observer import Stopped

STAGES: list[Stage] = ["loading", "teaching", "training", "evaluating", "exporting"]


def test_a_job_goes_through_its_stages_and_reports(lab: Lab) -> None:
    notebook = Notebook()
    outcome = lab.run(notebook)
    assert notebook.stages == STAGES
    assert set(outcome.report.cost.seconds) >= {"loading", "teaching", "training", "evaluating"}
    assert outcome.report.cost.steps == 6
    assert outcome.report.student.layers == 1
    assert outcome.report.held_out == "test"
    assert notebook.sizes_seen is not None
    assert notebook.sizes_seen.student_parameters == outcome.report.student_after.parameters
    assert {"loss", "kd_loss", "ce_loss", "learning_rate", "validation/accuracy", "baseline/loss"} <= set(
        notebook.series
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_stops_in_every_stage(lab: Lab, stage: Stage) -> None:
    notebook = Notebook(lambda seen: "cancel" if seen.stages and seen.stages[-1] == stage else None)
    with pytest.raises(Stopped) as stopped:
        lab.run(notebook)
    assert stopped.value.reason == "cancel"
    assert notebook.stages[-1] == stage


def test_distilling_beats_labels_alone_where_labels_are_few(lab: Lab, encoder_folder: Path, tmp_path: Path) -> None:
    """The case that distillation is for, in small: the teacher knows from many labels what the student sees in few."""
    full = sentences(600, 600, seed=5)
    data = write_parquet(tmp_path / "full.parquet", {**full, "part": ["train"] * 400 + ["test"] * 200})
    few = [label if place < 12 or place >= 400 else None for place, label in enumerate(full["label"])]
    bare = write_parquet(
        tmp_path / "few.parquet", {"text": full["text"], "label": few, "part": ["train"] * 400 + ["test"] * 200}
    )
    columns: dict[str, Any] = {"dataset": {"id": "ds", "columns": {"split": "part"}}}
    taught = lab.run(
        folder="teacher",
        data=data,
        teachers=(encoder_folder,),
        teacher={"model": "teacher", "finetune": {"epochs": 8, "learning_rate": 2e-3}},
        student={"from_teacher": {"layers": [0, 1, 2, 3]}},
        training={"max_steps": 1, "learning_rate": 1e-9},
        evaluation={"baseline": False},
        **columns,
    )
    training = {"max_steps": 60, "learning_rate": 3e-3}
    report = lab.run(
        folder="pupil", data=bare, teachers=(taught.student,), alpha=0.9, training=training, **columns
    ).report
    assert isinstance(report, ClassificationReport)
    assert report.gain is not None
    assert report.gain.accuracy_interval.low > 0
    assert report.verdict.startswith("The teacher brought +")


def test_a_teacher_that_the_job_trained_is_its_work_too(lab: Lab, encoder_folder: Path) -> None:
    teacher = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
    outcome = lab.run(teachers=(encoder_folder,), teacher=teacher, training={"max_steps": 2})
    kept = AutoModelForSequenceClassification.from_pretrained(outcome.student / "teacher")
    AutoTokenizer.from_pretrained(outcome.student / "teacher")
    assert kept.num_parameters() == outcome.report.teacher.parameters
    assert sorted(kept.config.label2id) == outcome.report.labels


def test_validation_is_reported_on_where_there_is_no_test(lab: Lab) -> None:
    report = lab.run(dataset={"test": 0.0}, training={"max_steps": 2}, evaluation={"baseline": False}).report
    assert (report.held_out, report.examples.test, report.examples.validation) == ("validation", 0, 24)


def test_bf16_may_be_asked_for_and_is_said(lab: Lab) -> None:
    report = lab.run(training={"max_steps": 2, "precision": "bf16"}, evaluation={"baseline": False}).report
    assert report.cost.precision == "bf16"


def test_a_full_disk_is_said_with_sizes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device that is always full stands in for a full disk; the error is the kernel's."""
    monkeypatch.setattr(
        "worker.training.teacher_cache.TeacherCache.keep", lambda *_: Path("/dev/full").write_bytes(b"x" * 9999)
    )
    with pytest.raises(DiskFull, match=r"no space is left in the work folder: [\d,]+ bytes are free"):
        lab.run()


def test_nothing_heavy_is_imported_before_the_training_room_is_entered() -> None:
    code = "import sys, worker.training, worker.training.observer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
