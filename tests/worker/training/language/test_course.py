"""A language model's training that is stopped, killed or seeded anew: the same student, byte for byte, or another."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import LossDiverged
from tests.worker.training.conftest import Notebook
from tests.worker.training.language.conftest import WritingLab
from worker.training import unpadded
from worker.training.language import lectures
from worker.training.observer import Stopped, StopReason

TRAINING = {"max_steps": 8, "batch_size": 8, "learning_rate": 1e-3, "checkpoint_every_steps": 3, "max_length": 32}
FINETUNED = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
JOB: dict[str, Any] = {"training": TRAINING, "teacher": FINETUNED}
"""36 examples: 64 are seen, so that the teacher's states are kept on disk."""


def digest(lab: WritingLab, notebook: Notebook | None = None, **job: Any) -> str:
    outcome, _ = lab.run(notebook, **job)
    return hashlib.sha256((outcome.student / "model.safetensors").read_bytes()).hexdigest()


def at_step(phase: str, step: int) -> Callable[[Notebook], StopReason | None]:
    name = "loss" if phase == "student" else f"{phase}/loss"
    return lambda notebook: "shutdown" if notebook.series.get(name, [(0, 0)])[-1][0] >= step else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Path, teacher_folder: Path) -> str:
    """The student of a run that nobody disturbed."""
    return digest(WritingLab(tmp_path_factory.mktemp("whole"), dataset, teacher_folder), **JOB)


def test_the_same_spec_gives_the_same_student(lab: WritingLab, whole: str) -> None:
    assert digest(lab, **JOB) == whole


def test_another_seed_gives_another_student(lab: WritingLab, whole: str) -> None:
    assert digest(lab, **{**JOB, "training": {**TRAINING, "seed": 7}}) != whole


@pytest.mark.parametrize(("phase", "step"), [("teacher-0", 2), ("student", 2), ("student", 6), ("baseline", 5)])
def test_stopped_and_resumed_it_is_the_same_student(lab: WritingLab, whole: str, phase: str, step: int) -> None:
    notebook = Notebook(at_step(phase, step))
    with pytest.raises(Stopped) as stopped:
        lab.run(notebook, **JOB)
    assert stopped.value.reason == "shutdown"
    assert notebook.checkpoints[-1][0] == phase
    second = Notebook()
    assert digest(lab, second, **JOB) == whole
    assert second.said(f"{phase}: going on from step")


def test_killed_between_checkpoints_it_is_the_same_student(lab: WritingLab, whole: str) -> None:
    class Killed(BaseException):
        pass

    class Fragile(Notebook):
        def metrics(self, step: int, values: Any) -> None:
            super().metrics(step, values)
            if "loss" in values and step == 5:
                raise Killed

    with pytest.raises(Killed):
        lab.run(Fragile(), **JOB)
    notebook = Notebook()
    assert digest(lab, notebook, **JOB) == whole
    assert notebook.said("student: going on from step 3 of 8")


@pytest.mark.parametrize(
    "kind",
    [{"method": {"top_k": 8}}, {"student": {"from_teacher": {"layers": [0, 2]}, "lora": {"r": 2, "dropout": 0.1}}}],
    ids=["likeliest words", "adapters"],
)
def test_the_other_kinds_resume_to_the_same_bytes(lab: WritingLab, kind: dict[str, Any]) -> None:
    job = {"training": TRAINING, "evaluation": {"baseline": False}, **kind}
    undisturbed = digest(lab, folder="undisturbed", **job)
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 4)), **job)
    assert digest(lab, **job) == undisturbed


def test_states_that_are_kept_teach_what_a_teacher_that_reads_along_teaches(
    lab: WritingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"training": TRAINING, "evaluation": {"baseline": False}}
    kept, along = Notebook(), Notebook()
    lab.run(kept, folder="kept", **job)
    monkeypatch.setattr(lectures, "MOST_KEPT_BYTES", 1)
    lab.run(along, folder="along", **job)
    assert kept.said("The teacher reads once: last hidden states of")
    assert along.said("it reads along at every step; method.top_k takes less")
    for name in ("loss", "kd_loss", "ce_loss"):
        assert [v for _, v in kept.series[name]] == pytest.approx([v for _, v in along.series[name]], rel=1e-4)


@pytest.mark.parametrize("steps", [2, 8], ids=["the teacher reads along", "the teacher reads beforehand"])
def test_progress_never_falls_and_ends_at_the_whole(lab: WritingLab, steps: int) -> None:
    notebook = Notebook()
    lab.run(notebook, **{**JOB, "training": {**TRAINING, "max_steps": steps}})
    percents = [progress.percent for progress in notebook.seen]
    assert percents == sorted(percents)
    assert percents[-1] == pytest.approx(100.0)
    assert notebook.seen[-1].step == notebook.seen[-1].total_steps


def test_texts_that_are_seen_once_are_not_kept(lab: WritingLab) -> None:
    notebook = Notebook()
    lab.run(notebook, training={**TRAINING, "max_steps": 2}, evaluation={"baseline": False})
    assert notebook.said("Texts are seen about once, so the teacher reads each when it comes.")
    assert not (lab.folder / "job" / "cache" / "train").exists()


def test_smaller_micro_batches_are_the_same_steps(lab: WritingLab) -> None:
    """Sums are divided by the kept tokens of the whole step, however unevenly its micro-batches hold them."""
    whole, parts = Notebook(), Notebook()
    off = {"evaluation": {"baseline": False}}
    lab.run(whole, folder="whole", training=TRAINING, **off)
    lab.run(parts, folder="parts", training={**TRAINING, "batch_size": 2, "gradient_accumulation": 4}, **off)
    for name in ("loss", "kd_loss", "ce_loss"):
        assert [v for _, v in parts.series[name]] == pytest.approx([v for _, v in whole.series[name]], rel=1e-3)


def test_a_job_learns_the_same_with_padding(lab: WritingLab, monkeypatch: pytest.MonkeyPatch) -> None:
    flat, with_padding = Notebook(), Notebook()
    monkeypatch.setattr(unpadded, "RUN_OPERATIONS", 0)
    lab.run(flat, folder="flat", **JOB)
    monkeypatch.setattr(unpadded, "pays", lambda _model: False)
    lab.run(with_padding, folder="padded", **JOB)
    for name in ("teacher-0/loss", "loss", "kd_loss", "ce_loss"):
        found, expected = ([value for _, value in notebook.series[name]] for notebook in (flat, with_padding))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), name


def test_the_loss_is_the_weighted_sum_of_its_parts(lab: WritingLab) -> None:
    notebook = Notebook()
    lab.run(notebook, alpha=0.3, evaluation={"baseline": False}, training=TRAINING)
    for (_, loss), (_, kd), (_, ce) in zip(
        *(notebook.series[name] for name in ("loss", "kd_loss", "ce_loss")), strict=True
    ):
        assert loss == pytest.approx(0.3 * kd + 0.7 * ce, rel=1e-4)


def test_with_alpha_0_the_teacher_says_nothing_and_the_texts_are_all(lab: WritingLab) -> None:
    notebook = Notebook()
    _, report = lab.run(notebook, alpha=0.0, training=TRAINING)
    assert "kd_loss" not in notebook.series
    assert report.baseline is None
    assert notebook.said("with alpha 0 the student itself learns from the completions alone")


def test_two_teachers_are_one_mixture_and_each_is_reported(lab: WritingLab) -> None:
    _, report = lab.run(
        teacher=[{"model": "a"}, {"model": "b", "weight": 2.0}],
        teachers=(lab.teacher, lab.teacher),
        training={**TRAINING, "max_steps": 2},
        evaluation={"baseline": False},
    )
    assert sorted(report.teachers) == ["a", "b"]
    assert report.teacher.parameters == 2 * report.teachers["a"].parameters
    assert report.teachers["a"].kl_to_teacher == pytest.approx(0, abs=1e-5)


def test_a_rate_that_is_far_too_high_is_a_diverged_loss_with_its_step(lab: WritingLab) -> None:
    with pytest.raises(LossDiverged) as diverged:
        lab.run(training={"max_steps": 200, "batch_size": 8, "learning_rate": 1e4}, evaluation={"baseline": False})
    assert 1 <= diverged.value.args[0] <= 200
