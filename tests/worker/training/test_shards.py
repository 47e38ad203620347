"""Layers that are spread over two processes learn what they learn in one."""

import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    OPTConfig,
    OPTForSequenceClassification,
)

from core.errors import StudentUnusable
from tests.worker.training.conftest import TINY, Both, Lab, Notebook, in_one_and_two
from tests.worker.training.test_crew import QUICK, RESTLESS, STILL, TRAINING, Fragile
from tests.worker.training.test_phase import at_step, digest
from worker.training import predict, readings, shards
from worker.training.crew import Crew
from worker.training.exchange import Outcome
from worker.training.observer import PeerKilled, Stopped
from worker.training.pupil import Pupil
from worker.training.trainer import DistilTrainer

STOPPED_EVALUATION = 2
SHARDED = {"processes": 2, "sharded": True}


@pytest.mark.parametrize(
    "job",
    [
        {"training": {**TRAINING, "max_grad_norm": 0.05}},
        {"training": {**TRAINING, "max_grad_norm": None}, **QUICK},
        {"training": {**TRAINING, "batch_size": 58, "gradient_accumulation": 2, "max_steps": 4}, **QUICK},
        {"method": {"hidden": {"type": "mse"}}, **QUICK},
        {"training": {**TRAINING, "early_stopping": {"patience": 1, "min_delta": 1.0}}, **QUICK},
        {"student": {**STILL, "trainable": "head"}, **QUICK},
        {"student": {**STILL, "trainable": ["*.layer.1.*"]}, **QUICK},
    ],
    ids=["clipped", "unclipped", "nothing left for one", "hidden", "stopped early", "head", "layers alone"],
)
@pytest.mark.usefixtures("crew")
def test_they_train_as_one_process_does(lab: Lab, job: dict[str, Any]) -> None:
    def run(observer: Notebook, folder: str, processes: int) -> Outcome:
        wanted = {"student": STILL, "training": TRAINING, **job}
        return lab.run(observer, folder=folder, resources=SHARDED if processes == 2 else {}, **wanted)

    both = in_one_and_two(run)
    both.check()
    assert both.observers[1].said("student: its layers are spread over 2 processes")


@pytest.mark.parametrize("step", [2, 7])
@pytest.mark.usefixtures("crew")
def test_stopped_and_resumed_it_is_the_same_student_with_dropout_too(lab: Lab, step: int) -> None:
    """What is learned and remembered is gathered into a checkpoint, and given to all again."""
    training = {**TRAINING, "checkpoint_every_steps": 4, "evaluate_every_steps": 5}
    job: dict[str, Any] = {"student": RESTLESS, "training": training, "resources": SHARDED, **QUICK}
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", step)), **job)
    again = Notebook()
    assert digest(lab.run(again, **job).student / "model.safetensors") == whole
    assert again.said("student: going on from step"), again.events


def test_one_that_is_killed_ends_the_training_and_the_next_attempt_goes_on(lab: Lab, crew: Crew) -> None:
    job: dict[str, Any] = {"student": STILL, "training": {**TRAINING, "checkpoint_every_steps": 4}, **QUICK}
    with pytest.raises(PeerKilled, match="One of its training processes ended by signal SIGKILL"):
        lab.run(Fragile(6, lambda: crew._others[0].kill()), resources=SHARDED, **job)
    again = Notebook()
    assert lab.run(again, resources=SHARDED, **job).report.cost.steps == 12
    assert again.said("going on from step 4 of 12")


def test_an_attempt_goes_on_as_the_one_before(lab: Lab, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a worker with larger GPUs as well: what the optimizer remembers has an order of its own."""
    monkeypatch.setattr(Crew, "spreads", lambda *_: True)
    job: dict[str, Any] = {"student": STILL, "training": TRAINING, "resources": {"processes": 2}, **QUICK}
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 5)), **job)
    monkeypatch.setattr(Crew, "spreads", lambda *_: False)
    again = Notebook()
    assert digest(lab.run(again, **job).student / "model.safetensors") == whole
    assert again.said("student: going on from step")
    assert again.said("its layers are spread over 2 processes")


@pytest.mark.parametrize("evaluates", [2, 100])
@pytest.mark.usefixtures("crew")
def test_each_process_holds_a_part(lab: Lab, monkeypatch: pytest.MonkeyPatch, evaluates: int) -> None:
    """Between steps, before and after evaluations: of weights, and of what the optimizer remembers."""
    held: list[tuple[int, int]] = []
    step_ended = DistilTrainer.training_step

    def watched(self: DistilTrainer, *given: Any) -> Tensor:
        loss = step_ended(self, *given)
        assert self.leader is not None
        layers = [parameter for layer in self.leader.shards.layers for parameter in layer.parameters()]
        moments = [state["exp_avg"] for state in self.optimizer.optimizer.state.values()]
        assert all(isinstance(one, DTensor) for one in layers)
        spread = [one for one in (*layers, *moments) if isinstance(one, DTensor)]
        held.extend((one.to_local().numel(), one.numel()) for one in spread)
        return loss

    monkeypatch.setattr(DistilTrainer, "training_step", watched)
    training = {**TRAINING, "evaluate_every_steps": evaluates}
    lab.run(student=STILL, training=training, resources=SHARDED, **QUICK)
    assert len({whole for _, whole in held}) > 2
    assert all(own * 2 == whole for own, whole in held)


def test_three_share_what_does_not_divide_by_three(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    three = Crew(3, tmp_path / "three", is_sharded=True)
    monkeypatch.setattr("worker.training.distil.crew_of", lambda resources, _: nullcontext(crews[resources.processes]))
    crews: dict[int, Crew | None] = {1: None, 3: three}
    job: dict[str, Any] = {"student": STILL, "training": {**TRAINING, "batch_size": 15, "max_steps": 9}, **QUICK}
    observers = Notebook(), Notebook()
    try:
        alone, shared = (
            lab.run(observer, folder=f"of-{count}", resources={"processes": count}, **job).student
            for observer, count in zip(observers, (1, 3), strict=True)
        )
    finally:
        three.close()
    Both(observers, (alone, shared)).check()


def test_a_teacher_is_fine_tuned_with_its_layers_spread(lab: Lab) -> None:
    """Nothing is evaluated on the way there. In bf16, which a process computes in from its first training on."""
    finetuned = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
    notebook = Notebook()
    training = {**TRAINING, "precision": "bf16", "max_steps": 3}
    lab.run(notebook, student=STILL, training=training, teacher=finetuned, resources=SHARDED)
    for phase in ("teacher-0", "student", "baseline"):
        assert notebook.said(f"{phase}: its layers are spread over 2 processes")


@pytest.mark.usefixtures("crew")
def test_a_stop_in_an_evaluation_is_made_up_for_by_the_next_attempt(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It evaluates first, with layers that no step has gone through yet."""
    training = {**TRAINING, "evaluate_every_steps": 4}
    job: dict[str, Any] = {"student": STILL, "training": training, "resources": SHARDED, **QUICK}
    whole = digest(lab.run(folder="whole", **job).student / "model.safetensors")
    measured = predict.logits_of
    calls = []

    def stopping(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == STOPPED_EVALUATION:
            raise Stopped("shutdown")
        return measured(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(readings, "logits_of", stopping)
        with pytest.raises(Stopped):
            lab.run(**job)
    again = Notebook()
    assert digest(lab.run(again, **job).student / "model.safetensors") == whole
    assert again.said("student: going on from step 4")


def test_a_model_that_leaves_out_layers_at_random_is_refused() -> None:
    config = OPTConfig(
        vocab_size=9, hidden_size=8, ffn_dim=8, num_hidden_layers=2, num_attention_heads=2, layerdrop=0.1
    )
    with pytest.raises(StudentUnusable, match="layerdrop of the model's config leaves some out"):
        shards.layers_of(pupil_of(OPTForSequenceClassification, config))


def test_one_that_ends_aborts_what_waits_for_it_on_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NCCL would go on waiting for. No GPU is here, so that what aborts is stood in for."""
    aborted = threading.Event()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("worker.training.crew.abort", aborted.set)
    crew = Crew(2, tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        crew._others = [other]
        with crew._watched():
            assert not aborted.wait(1.0)
            other.kill()
            assert aborted.wait(30)
        crew._others = []


def pupil_of(kind: type[Any], config: Any) -> Pupil:
    with torch.device("meta"):
        return Pupil(kind(config))


def test_a_model_without_layers_of_its_own_says_what_is_missing() -> None:
    albert = pupil_of(AlbertForSequenceClassification, AlbertConfig(vocab_size=9, embedding_size=8, hidden_size=64))
    with pytest.raises(StudentUnusable, match=r"resources\.sharded spreads layers, and a model of type albert"):
        shards.layers_of(albert)


def test_by_itself_a_pupil_is_spread_where_one_gpu_cannot_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is here: what torch would say of one is said for it."""
    pupil = pupil_of(BertForSequenceClassification, BertConfig(**TINY))
    learned = sum(parameter.numel() for parameter in pupil.parameters())
    assert not shards.is_too_large(pupil), "a CPU's memory is one for all processes"
    monkeypatch.setattr(shards, "device", lambda: SimpleNamespace(type="cuda"))
    needed = learned * shards.BYTES_LEARNED / shards.FULL
    for memory, is_spread in ((needed * 1.01, False), (needed * 0.99, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda memory=memory: (0, memory))
        assert shards.is_too_large(pupil) is is_spread
    pupil.requires_grad_(False)
    assert not shards.is_too_large(pupil), "what does not learn needs a fifth"
