"""Two processes train as one does; what ends one of them, or is asked of the first, holds for both."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from core.errors import LossDiverged, TooFewDevices, TrainingKilled
from core.training import ResourcesSpec
from tests.worker.training.conftest import TINY, Lab, Notebook, in_one_and_two
from tests.worker.training.test_phase import DROPOUT, at_step, digest
from worker.training import crew as crew_room
from worker.training.crew import Crew, crew_of, last_word
from worker.training.distil import Outcome
from worker.training.follower import BEREFT
from worker.training.observer import PeerKilled, Stopped

STUDENT = {"model_type": "bert", **{k: v for k, v in TINY.items() if k != "vocab_size"}, "num_hidden_layers": 2}
STILL = {"config": {**STUDENT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}}
RESTLESS = {"config": {**STUDENT, **DROPOUT}}
TRAINING: dict[str, Any] = {"max_steps": 12, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}
QUICK: dict[str, Any] = {"evaluation": {"baseline": False}}
TWO = {"processes": 2}


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"training": {**TRAINING, "batch_size": 14, "gradient_accumulation": 3}, "alpha": 0.9, **QUICK},
        {"training": {**TRAINING, "batch_size": 118, "max_steps": 4}, **QUICK},
        {"training": {**TRAINING, "batch_size": "auto", "max_steps": 7}, **QUICK},
        {"method": {"hidden": {"type": "mse"}}, **QUICK},
        {"student": {**STILL, "lora": {"r": 2}}, **QUICK},
        {"training": {**TRAINING, "early_stopping": {"patience": 1, "min_delta": 1.0}}, **QUICK},
    ],
    ids=["plain", "accumulated unevenly", "one step an epoch", "by tokens", "hidden", "lora", "stopped early"],
)
@pytest.mark.usefixtures("crew")
def test_two_processes_train_as_one_does(lab: Lab, job: dict[str, Any]) -> None:
    def run(observer: Notebook, folder: str, processes: int) -> Outcome:
        wanted = {"student": STILL, "training": TRAINING, **job}
        return lab.run(observer, folder=folder, resources={"processes": processes}, **wanted)

    both = in_one_and_two(run)
    both.check()
    assert len(both.observers[1].series["loss"]) > 1


@pytest.mark.usefixtures("crew")
def test_a_teacher_is_fine_tuned_by_both_and_steps_are_counted_as_in_one(lab: Lab) -> None:
    finetuned = {"model": "teacher", "finetune": {"epochs": 2, "learning_rate": 1e-3}}
    job: dict[str, Any] = {"student": STILL, "training": TRAINING, "teacher": finetuned}
    both = in_one_and_two(
        lambda observer, folder, count: lab.run(observer, folder=folder, resources={"processes": count}, **job)
    )
    # The teacher has dropout of its own, and each process draws for itself.
    own, shared = both.observers
    assert shared.series["teacher-0/loss"][0][1] == pytest.approx(own.series["teacher-0/loss"][0][1], abs=0.1)
    assert [progress.step for progress in shared.seen] == [progress.step for progress in own.seen]


@pytest.mark.parametrize("step", [2, 7])
def test_stopped_and_resumed_it_is_the_same_student_with_dropout_too(lab: Lab, crew: Crew, step: int) -> None:
    job: dict[str, Any] = {
        "student": RESTLESS,
        "training": {**TRAINING, "checkpoint_every_steps": 4, "evaluate_every_steps": 5},
        "resources": TWO,
        **QUICK,
    }
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    first = crew._others[0]
    notebook = Notebook(at_step("student", step))
    with pytest.raises(Stopped):
        lab.run(notebook, **job)
    assert notebook.series["loss"][-1][0] < 12
    second = Notebook()
    assert digest(lab.run(second, **job).student / "model.safetensors") == whole
    assert second.said("student: going on from step"), second.events
    assert crew._others == [first], "a stop that is asked for ends no process"


@pytest.mark.usefixtures("crew")
def test_processes_draw_apart(lab: Lab) -> None:
    """With dropout, two processes are another student than one: the second does not repeat the first's draws."""
    job: dict[str, Any] = {"student": RESTLESS, "training": TRAINING, **QUICK}
    alone, shared = (
        digest(lab.run(folder=f"of-{count}", resources={"processes": count}, **job).student / "model.safetensors")
        for count in (1, 2)
    )
    assert alone != shared


class Fragile(Notebook):
    """Does something once this many steps are logged."""

    def __init__(self, step: int, then: Callable[[], None]) -> None:
        super().__init__()
        self.step, self.then = step, then

    def metrics(self, step: int, values: Any) -> None:
        super().metrics(step, values)
        if "loss" in values and step == self.step:
            self.then()


def test_one_that_is_killed_ends_the_training_and_the_next_attempt_goes_on(lab: Lab, crew: Crew) -> None:
    job: dict[str, Any] = {"student": STILL, "training": {**TRAINING, "checkpoint_every_steps": 4}, **QUICK}
    observer = Fragile(6, lambda: crew._others[0].kill())
    with pytest.raises(PeerKilled, match="One of its training processes ended by signal SIGKILL"):
        lab.run(observer, resources=TWO, **job)
    assert not crew._others
    again = Notebook()
    assert lab.run(again, resources=TWO, **job).report.cost.steps == 12
    assert again.said("going on from step 4 of 12")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", PeerKilled("signal SIGTERM")),
        ("os.kill(os.getpid(), signal.SIGSEGV)", TrainingKilled("signal SIGSEGV", "")),
        ("os._exit(3)", TrainingKilled("exit code 3", "")),
        (f"os._exit({BEREFT})", None),
        ("os.write(1, pickle.dumps(MemoryError('of mine'))), os._exit(1)", MemoryError("of mine")),
    ],
)
def test_how_one_ended_says_what_becomes_of_the_job(end: str, error: Exception | None) -> None:
    script = f"import os, pickle, signal; {end}"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        other.wait()
        assert repr(last_word(other)) == repr(error)


def test_one_that_was_killed_while_it_waited_is_noticed(lab: Lab, crew: Crew) -> None:
    crew.start()
    crew._others[0].kill()
    crew._others[0].wait()
    with pytest.raises(PeerKilled):
        lab.run(student=STILL, training=TRAINING, resources=TWO)


def test_one_that_is_killed_on_its_way_to_the_others_is_noticed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, signal; input(); print('ready', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(crew_room, "COMMAND", (sys.executable, "-c", script))
    with pytest.raises(PeerKilled):
        lab.run(student=STILL, training=TRAINING, resources=TWO)


def test_short_of_memory_in_one_of_them_micro_batches_are_halved(lab: Lab, crew: Crew) -> None:
    """The other process is given no more memory than it has when the first step is over; the error is its own."""
    limited: list[int] = []

    def limit() -> None:
        if not limited:
            other = psutil.Process(crew._others[0].pid)
            used = other.memory_info().vms
            other.rlimit(psutil.RLIMIT_AS, (used, used))
            limited.append(other.pid)

    wide = {"config": {**STILL["config"], "hidden_size": 256, "intermediate_size": 4096}}
    training = {**TRAINING, "batch_size": 64, "max_steps": 3}
    observer = Fragile(1, limit)
    lab.run(observer, student=wide, training=training, resources=TWO, **QUICK)
    assert observer.said("a micro-batch of 64 does not fit into memory; going on with 2 micro-batches per step")
    assert crew._others[0].pid not in limited, "it is started anew"


@pytest.mark.usefixtures("crew")
def test_a_loss_that_diverges_in_the_first_ends_both(lab: Lab, crew: Crew) -> None:
    with pytest.raises(LossDiverged):
        lab.run(student=STILL, training={**TRAINING, "learning_rate": 1e4, "max_grad_norm": None}, resources=TWO)
    assert not crew._others


def test_they_end_with_the_job_and_leave_no_file(tmp_path: Path) -> None:
    with crew_of(ResourcesSpec(processes=2), tmp_path / "crew") as crew:
        assert crew is not None
        other = psutil.Process(crew._others[0].pid)
        assert other.is_running()
    assert not other.is_running()
    assert not list(tmp_path.rglob("*"))


def test_the_others_end_when_their_stdin_does(tmp_path: Path) -> None:
    """Which it does when the first process is killed: the kernel closes what it held."""
    with crew_of(ResourcesSpec(processes=2), tmp_path / "crew") as crew:
        assert crew is not None
        other = crew._others[0]
        assert other.stdin is not None
        other.stdin.close()
        assert other.wait(180) == 1


def test_one_process_has_no_crew(tmp_path: Path) -> None:
    with crew_of(ResourcesSpec(), tmp_path) as crew:
        assert crew is None


@pytest.mark.parametrize(("has_gpu", "words"), [(True, r"has 1 CUDA device"), (False, r"has \d+ core")])
def test_more_processes_than_devices_are_refused_by_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_gpu: bool, words: str
) -> None:
    """What torch would say on a machine with one GPU, and what it says on one without."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.raises(TooFewDevices, match=words), crew_of(ResourcesSpec(processes=2), tmp_path):
        pass
