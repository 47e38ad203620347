"""Texts of a process beside the job are those that the model would write: read, cut and counted alike."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.worker.training.generation.conftest import spec_of
from tests.worker.training.generation.test_writer import QUESTIONS, asks, silent
from worker.training.export import save_model
from worker.training.generation.vllm.beside import Vllm
from worker.training.generation.vllm.writer import VllmWriter, has_several_rotaries, seed_of
from worker.training.generation.writer import ModelWriter
from worker.training.observer import Stopped

Make = Callable[..., VllmWriter]


@pytest.fixture
def made(vllm: Vllm, model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Make:
    def make(seed: int = 5, **spec: Any) -> VllmWriter:
        folder = tmp_path / "copy"
        save = partial(save_model, model, plain_tokenizer)
        return VllmWriter(model, plain_tokenizer, spec_of(**spec), seed, vllm, "fp32", folder, save)

    return make


def test_what_is_likeliest_is_what_the_model_writes_here(
    made: Make, model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """With a stop text and a penalty; a prompt that has no room is told apart, as ever."""
    free = ModelWriter(model, plain_tokenizer, spec_of(temperature=0.0), seed=0).write(asks(), silent)
    spec = {"temperature": 0.0, "repetition_penalty": 1.3, "stop": (free[1].text[2:4], "never")}
    everything = asks(1, *QUESTIONS, "a small " * 60)
    expected = ModelWriter(model, plain_tokenizer, spec_of(**spec), seed=0).write(everything, silent)
    assert made(**spec).write(everything, silent) == expected
    assert [sample.fault for sample in expected][-1] == "prompt_too_long"
    assert not (tmp_path / "copy").exists()


def test_samples_have_seeds_of_their_own_and_come_as_they_are_done(made: Make) -> None:
    signs: list[None] = []
    pieces = list(made().pieces(asks(samples=3), lambda: signs.append(None)))
    found = {sample.key: sample for piece in pieces for sample in piece}
    assert found.keys() == {ask.key for ask in asks(samples=3)}
    assert len({sample.text for sample in found.values()}) > 9
    assert len(signs) > 1
    backwards = made().write(asks(samples=3)[::-1], silent)
    assert backwards == [found[ask.key] for ask in asks(samples=3)[::-1]]


def test_where_no_prompt_has_room_nothing_is_started(made: Make, tmp_path: Path) -> None:
    writer = made()
    writer.vllm = Vllm(Path("/nowhere/python"))
    assert [sample.fault for sample in writer.write(asks(1, "a small " * 60), silent)] == ["prompt_too_long"]


@pytest.mark.parametrize(
    ("rotary", "has_several"),
    [
        ({"rope_theta": 1e6, "rope_type": "default"}, False),
        ({"full_attention": {"rope_theta": 1e6}}, True),
        (None, False),
    ],
)
def test_what_transformers_4_cannot_be_told_needs_5(rotary: dict[str, Any] | None, *, has_several: bool) -> None:
    assert has_several_rotaries({"rope_parameters": rotary}) is has_several


def test_seeds_differ_with_each_part_of_what_they_are_of() -> None:
    seeds = [seed_of(seed, (prompt, sample)) for seed in range(3) for prompt in range(30) for sample in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_job_that_stops_leaves_no_copy_of_its_teacher(made: Make, tmp_path: Path) -> None:
    def told_to_stop() -> None:
        raise Stopped("cancel")

    with pytest.raises(Stopped):
        made().write(asks(), told_to_stop)
    assert not (tmp_path / "copy").exists()


def test_nothing_asked_starts_nothing(made: Make) -> None:
    assert made().write([], silent) == []
