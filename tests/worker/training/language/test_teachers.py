"""What a teacher holds in memory, and that nobody can tell."""

from typing import Any

import pytest
import torch

from core.spec import JobSpec
from tests.worker.training.conftest import Notebook
from tests.worker.training.language.conftest import WritingLab, llama, spec_of
from worker.training.desk import Desk
from worker.training.language.teachers import hold_lightly
from worker.training.models import Loaded

BF16 = {"precision": "bf16"}
TEXTS = {"type": "sequence", "generation": {"max_new_tokens": 4}}


def held(desk_of: Any, **changes: Any) -> set[torch.dtype]:
    """The types of a teacher's weights once it is held lightly."""
    model = llama(tied=False)
    hold_lightly(desk_of(spec_of(**changes)), [Loaded(model, None, frozenset())])
    return {weight.dtype for weight in model.parameters()}


@pytest.fixture
def desk_of(tmp_path: Any) -> Any:
    def made(spec: JobSpec) -> Desk:
        return Desk(spec, tmp_path, Notebook())

    return made


def test_a_teacher_that_only_teaches_is_held_in_what_it_computes_in(desk_of: Any) -> None:
    assert held(desk_of, training=BF16) == {torch.bfloat16, torch.float32}
    assert held(desk_of) == {torch.float32}


def test_one_that_learns_keeps_its_weights(desk_of: Any) -> None:
    tuned = {"model": "teacher", "finetune": {"epochs": 1}}
    assert held(desk_of, teacher=tuned, training=BF16) == {torch.float32}


@pytest.mark.parametrize("engine", ["auto", "openvino", "openvino_int8", "transformers"])
def test_one_that_may_be_converted_keeps_its_weights(desk_of: Any, engine: str) -> None:
    method = {**TEXTS, "generation": {**TEXTS["generation"], "engine": engine}}  # type: ignore[dict-item]
    found = held(desk_of, method=method, training=BF16, alpha=0.0)
    assert found == ({torch.bfloat16, torch.float32} if engine == "transformers" else {torch.float32})


METHODS: dict[str, dict[str, Any]] = {
    "logits": {},
    "on-policy": {"method": {"type": "on_policy", "generation": {"max_new_tokens": 6}}, "alpha": 1.0},
    "texts": {
        "method": {
            **TEXTS,
            "generation": {"max_new_tokens": 6, "engine": "transformers"},
            "filters": {"finished_only": False},
        },
        "alpha": 0.0,
    },
}


@pytest.mark.parametrize("changes", METHODS.values(), ids=METHODS)
def test_a_job_reports_the_same(lab: WritingLab, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    _, light = lab.run(folder="light", training=BF16, **changes)
    for room in ("distil", "texts.distil"):
        monkeypatch.setattr(f"worker.training.language.{room}.hold_lightly", lambda *_: None)
    _, heavy = lab.run(folder="heavy", training=BF16, **changes)
    assert without_times(light.model_dump()) == without_times(heavy.model_dump())


def without_times(said: Any) -> Any:
    timed = {"tokens_per_second", "speedup", "cost", "verdict"}
    if isinstance(said, dict):
        return {name: without_times(value) for name, value in said.items() if name not in timed}
    return said
