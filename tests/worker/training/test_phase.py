"""Training that is stopped, broken or short of memory ends in the same student, byte for byte."""

import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import LossDiverged, OutOfMemory, StorageUnavailable
from tests.worker.training.conftest import TINY, Lab, Notebook
from worker.training import copies
from worker.training.observer import Stopped, StopReason
from worker.training.phase import steps_of
from worker.training.trainer import DistilTrainer

DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1}
STUDENT = {
    "config": {
        "model_type": "bert",
        **{k: v for k, v in TINY.items() if k != "vocab_size"},
        "num_hidden_layers": 1,
        **DROPOUT,
    }
}
TRAINING = {
    "max_steps": 12,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "checkpoint_every_steps": 4,
    "evaluate_every_steps": 5,
}
FINETUNED = {"model": "teacher", "finetune": {"epochs": 2, "learning_rate": 1e-3}}
ALONE: dict[str, Any] = {"evaluation": {"baseline": False}}
JOB: dict[str, Any] = {"student": STUDENT, "training": TRAINING, "teacher": FINETUNED}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def at_step(phase: str, step: int) -> Callable[[Notebook], StopReason | None]:
    """Stop when this many steps of a phase have been logged."""
    name = "loss" if phase == "student" else f"{phase}/loss"
    return lambda notebook: "shutdown" if notebook.series.get(name, [(0, 0)])[-1][0] >= step else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Path, teacher_folder: Path) -> Path:
    """The student of a run that nobody disturbed."""
    lab = Lab(tmp_path_factory.mktemp("whole"), dataset, teacher_folder)
    return lab.run(**JOB).student / "model.safetensors"


def test_the_same_spec_gives_the_same_student(lab: Lab, whole: Path) -> None:
    assert digest(lab.run(**JOB).student / "model.safetensors") == digest(whole)


class FarAway(Notebook):
    """Stores the student's first checkpoint only when the training has gone on."""

    def __init__(self) -> None:
        super().__init__()
        self.later, self.went_on = threading.Event(), False

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        super().metrics(step, values)
        if "loss" in values and step == 6:
            self.later.set()

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        if (phase, step) == ("student", 4):
            self.went_on = self.later.wait(60)
        super().checkpoint(phase, step, folder, metrics)


def test_steps_go_on_while_a_checkpoint_is_stored(lab: Lab, whole: Path) -> None:
    notebook = FarAway()
    assert digest(lab.run(notebook, **JOB).student / "model.safetensors") == digest(whole)
    assert notebook.went_on
    assert [step for phase, step, _ in notebook.checkpoints if phase == "student"] == [4, 8, 12]


@pytest.mark.parametrize("student", [STUDENT, {**STUDENT, "lora": {"r": 2}}], ids=["all", "lora"])
def test_a_checkpoint_that_is_written_later_holds_what_was_learned_until_then(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, student: dict[str, Any]
) -> None:
    """As where the model is on a GPU: here nothing of step 4's is written before step 6 is over."""
    job: dict[str, Any] = {"student": student, "training": TRAINING, **ALONE}
    undisturbed = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    notebook = FarAway()
    notebook.stop_when = at_step("student", 7)
    unwritten = DistilTrainer.rest_of_checkpoint

    def held(self: DistilTrainer) -> list[Callable[[], object]]:
        if self.state.global_step != 4:
            return unwritten(self)
        return [lambda: notebook.later.wait(60), *unwritten(self)]

    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(copies, "are_wanted", lambda: True)
        on_a_gpu.setattr(DistilTrainer, "rest_of_checkpoint", held)
        with pytest.raises(Stopped):
            lab.run(notebook, **job)
    assert notebook.later.is_set()
    later = [folder for phase, step, folder in notebook.checkpoints if phase == "student" and step > 4]
    assert later
    for folder in later:
        shutil.rmtree(folder)
    again = Notebook()
    assert digest(lab.run(again, **job).student / "model.safetensors") == undisturbed
    assert again.said("student: going on from step 4 of 12")


class Full(Notebook):
    """Cannot store the student's first checkpoint."""

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        if (phase, step) == ("student", 4):
            raise StorageUnavailable("the storage is away")
        super().checkpoint(phase, step, folder, metrics)


def test_a_checkpoint_that_cannot_be_stored_ends_the_training_soon(lab: Lab) -> None:
    notebook = Full()
    training = {**TRAINING, "max_steps": 400, "checkpoint_every_steps": 4, "evaluate_every_steps": 400}
    with pytest.raises(StorageUnavailable, match="the storage is away"):
        lab.run(notebook, student=STUDENT, training=training, **ALONE)
    assert len([step for phase, step, _ in notebook.checkpoints if phase == "student"]) <= 1


def test_another_seed_gives_another_student(lab: Lab, whole: Path) -> None:
    outcome = lab.run(**{**JOB, "training": {**TRAINING, "seed": 7}}, evaluation={"baseline": False})
    assert digest(outcome.student / "model.safetensors") != digest(whole)


@pytest.mark.parametrize(
    ("phase", "step"), [("teacher-0", 3), ("student", 2), ("student", 7), ("student", 10), ("baseline", 5)]
)
def test_stopped_and_resumed_it_is_the_same_student(lab: Lab, whole: Path, phase: str, step: int) -> None:
    notebook = Notebook(at_step(phase, step))
    with pytest.raises(Stopped) as stopped:
        lab.run(notebook, **JOB)
    assert stopped.value.reason == "shutdown"
    assert notebook.checkpoints[-1][0] == phase
    second = Notebook()
    assert digest(lab.run(second, **JOB).student / "model.safetensors") == digest(whole)
    assert second.said(f"{phase}: going on from step")


def test_steps_by_tokens_are_resumed_as_well(lab: Lab) -> None:
    job = {**JOB, "training": {**TRAINING, "batch_size": "auto", "gradient_accumulation": 2}, **ALONE}
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 7)), **job)
    notebook = Notebook()
    assert digest(lab.run(notebook, **job).student / "model.safetensors") == whole
    assert notebook.said("student: going on from step")


def test_killed_between_checkpoints_it_is_the_same_student(lab: Lab, whole: Path) -> None:
    class Killed(BaseException):
        pass

    class Fragile(Notebook):
        def metrics(self, step: int, values: Any) -> None:
            super().metrics(step, values)
            if "loss" in values and step == 11:
                raise Killed

    with pytest.raises(Killed):
        lab.run(Fragile(), **JOB)
    notebook = Notebook()
    assert digest(lab.run(notebook, **JOB).student / "model.safetensors") == digest(whole)
    assert notebook.said("student: going on from step 8 of 12")


def test_a_damaged_checkpoint_gives_way_to_the_older_one(lab: Lab, whole: Path) -> None:
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 10)), **JOB)
    newest, older = sorted((lab.folder / "job" / "student").glob("checkpoint-*"), key=lambda f: -int(f.name[11:]))
    weights = newest / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-5] ^= 1
    weights.write_bytes(changed)
    notebook = Notebook()
    assert digest(lab.run(notebook, **JOB).student / "model.safetensors") == digest(whole)
    assert notebook.said(f"{newest.name} is damaged")
    assert notebook.said(f"going on from step {older.name[11:]} of 12")


def test_with_no_whole_checkpoint_it_starts_anew_and_says_so(lab: Lab, whole: Path) -> None:
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 7)), **JOB)
    for folder in (lab.folder / "job" / "student").glob("checkpoint-*"):
        (folder / "optimizer.pt").write_bytes(b"")
    notebook = Notebook()
    assert digest(lab.run(notebook, **JOB).student / "model.safetensors") == digest(whole)
    assert notebook.said("no checkpoint is whole; starting anew")


def test_checkpoints_of_another_model_are_left_out(lab: Lab, teacher_folder: Path) -> None:
    first = lab.run(folder="first", **JOB)
    shutil.copytree(lab.folder / "first" / "student", lab.folder / "second" / "student")
    wider = {"config": {**STUDENT["config"], "hidden_size": 64}}
    notebook = Notebook()
    outcome = lab.run(notebook, folder="second", **{**JOB, "student": wider})
    assert outcome.report.student_after.parameters > first.report.student_after.parameters
    assert notebook.said("cannot be loaded")


def test_the_last_two_checkpoints_stay_and_each_loads_with_plain_transformers(lab: Lab) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    notebook = Notebook()
    lab.run(notebook, **JOB)
    assert [step for phase, step, _ in notebook.checkpoints if phase == "student"] == [4, 8, 12]
    folders = sorted((lab.folder / "job" / "student").glob("checkpoint-*"))
    assert [folder.name for folder in folders] == ["checkpoint-12", "checkpoint-8"]
    for folder in folders:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        tokens = AutoTokenizer.from_pretrained(folder)("a good film", return_tensors="pt")
        assert model(**tokens).logits.shape == (1, 2)


def test_smaller_micro_batches_after_running_out_of_memory(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of torch's own allocator error is forced; all else is real."""
    plain = DistilTrainer.compute_loss

    def cramped(self: DistilTrainer, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if len(inputs["labels"]) > 4:
            torch.empty(1 << 62, dtype=torch.uint8)  # more than there is anywhere
        return plain(self, model, inputs, *args, **kwargs)

    still = {
        "student": {"config": {**STUDENT["config"], "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}}
    }
    roomy, notebook = Notebook(), Notebook()
    lab.run(roomy, folder="roomy", training=TRAINING, **still)
    monkeypatch.setattr(DistilTrainer, "compute_loss", cramped)
    outcome = lab.run(notebook, folder="cramped", training=TRAINING, **still)
    assert notebook.said("a micro-batch of 16 does not fit into memory; going on with 2 micro-batches per step")
    assert notebook.said("a micro-batch of 8 does not fit into memory; going on with 4 micro-batches per step")
    assert outcome.report.cost.steps == 12
    for name in ("loss", "kd_loss", "ce_loss"):
        assert [value for _, value in notebook.series[name]] == pytest.approx(
            [value for _, value in roomy.series[name]], rel=1e-3
        )


def test_a_resumed_training_keeps_the_micro_batches_that_did_fit(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout draws for each micro-batch: with others it would be another student."""
    plain = DistilTrainer.compute_loss

    def cramped(self: DistilTrainer, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if len(inputs["labels"]) > 8:
            raise MemoryError
        return plain(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(DistilTrainer, "compute_loss", cramped)
    job = {**JOB, **ALONE, "teacher": "teacher"}
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 6)), **job)
    monkeypatch.setattr(DistilTrainer, "compute_loss", plain)
    assert digest(lab.run(**job).student / "model.safetensors") == whole


def test_memory_that_never_suffices_is_said_with_numbers(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise MemoryError("no memory at all")

    monkeypatch.setattr(DistilTrainer, "compute_loss", never)
    with pytest.raises(
        OutOfMemory, match=r"student does not fit into memory: [\d,]+ parameters, a micro-batch of 2 texts"
    ):
        lab.run(training=TRAINING)


def test_a_rate_that_is_far_too_high_is_a_diverged_loss_with_its_step(lab: Lab) -> None:
    with pytest.raises(LossDiverged) as diverged:
        lab.run(training={"max_steps": 200, "batch_size": 16, "learning_rate": 1e3, "weight_decay": 0.01})
    step, _ = diverged.value.args
    assert 1 <= step <= 200


def test_early_stopping_keeps_the_best_student(lab: Lab) -> None:
    notebook = Notebook()
    training = {
        "max_steps": 120,
        "batch_size": 16,
        "learning_rate": 2e-2,
        "evaluate_every_steps": 4,
        "early_stopping": {"patience": 2},
    }
    outcome = lab.run(notebook, alpha=0.0, training=training)
    losses = [loss for _, loss in notebook.series["validation/loss"]]
    assert outcome.report.cost.steps < 120
    assert notebook.said("stopped at step")
    assert min(losses) < losses[-1]
    again = lab.run(Notebook(), alpha=0.0, training=training)  # finds the final checkpoint, and the best inside it
    assert digest(again.student / "model.safetensors") == digest(outcome.student / "model.safetensors")


@pytest.mark.parametrize("steps_before", [1, 4])
def test_early_stopping_survives_a_stop(lab: Lab, steps_before: int) -> None:
    """So many steps before the end of a run that nobody stops; 1: in the evaluation that ends it."""
    training = {
        "max_steps": 120,
        "batch_size": 16,
        "learning_rate": 2e-2,
        "evaluate_every_steps": 4,
        "early_stopping": {"patience": 2},
    }
    whole = lab.run(folder="whole", training=training, alpha=0.0)
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", whole.report.cost.steps - steps_before)), training=training, alpha=0.0)
    notebook = Notebook()
    resumed = lab.run(notebook, training=training, alpha=0.0)
    assert notebook.said("student: going on from step")
    assert resumed.report.cost.steps == whole.report.cost.steps
    assert digest(resumed.student / "model.safetensors") == digest(whole.student / "model.safetensors")


def test_steps_are_epochs_of_whole_optimizer_steps_unless_they_are_given() -> None:
    from core.training import TrainingSpec

    assert steps_of(TrainingSpec(epochs=3.0, batch_size=32), 8605) == 807
    assert steps_of(TrainingSpec(epochs=0.5, batch_size=8, gradient_accumulation=4), 100) == 2
    assert steps_of(TrainingSpec(max_steps=5), 8605) == 5
    assert steps_of(TrainingSpec(epochs=3.0, batch_size="auto"), 8605) == 807
