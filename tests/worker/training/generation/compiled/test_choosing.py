"""Which engine writes, and what is kept of a conversion."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from core.errors import EngineUnavailable
from core.methods import EngineName
from tests.worker.training.generation.conftest import llama
from worker.training.generation.compiled import choosing
from worker.training.generation.compiled.choosing import WORTH_TOKENS, Wanted, converted, openvino_for
from worker.training.generation.compiled.runtime import openvino, version_installed

needs_int8 = pytest.mark.skipif(
    None in (version_installed(), version_installed("nncf")), reason="the extra openvino is not installed"
)
needs_openvino = pytest.mark.skipif(version_installed() is None, reason="the extra openvino is not installed")
SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def wanted(tmp_path: Path, told: list[str]) -> Callable[..., Wanted]:
    def of(engine: EngineName = "auto", tokens: int = WORTH_TOKENS) -> Wanted:
        return Wanted(engine, "fp32", tokens, tmp_path, told.append, lambda: None)

    return of


def test_by_default_few_tokens_are_not_worth_a_conversion(
    model: LlamaForCausalLM, wanted: Callable[..., Wanted], tmp_path: Path
) -> None:
    assert openvino_for(model, wanted(tokens=WORTH_TOKENS - 1)) is None
    assert openvino_for(model, wanted("transformers")) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "found", "why"),
    [
        ("version_installed", lambda _="": None, "not installed"),
        ("device", lambda: torch.device("cuda"), "computes on cuda"),
    ],
)
def test_without_openvino_transformers_writes_unless_it_was_named(
    model: LlamaForCausalLM,
    wanted: Callable[..., Wanted],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    found: Callable[[], object],
    why: str,
) -> None:
    monkeypatch.setattr(choosing, "version_installed", lambda _="": "1")
    monkeypatch.setattr(choosing, name, found)
    assert openvino_for(model, wanted()) is None
    for engine in ("openvino", "openvino_int8"):
        with pytest.raises(EngineUnavailable, match=f"engine {engine}: .*{why}"):
            openvino_for(model, wanted(engine))


@needs_openvino
def test_a_conversion_is_kept_and_found_by_its_weights(
    wanted: Callable[..., Wanted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = openvino_for(llama(300), wanted())
    assert first is not None
    assert first.name == f"openvino {version_installed()}"
    (kept,) = tmp_path.iterdir()
    assert {file.suffix for file in kept.iterdir()} == {".xml", ".bin", ""}
    monkeypatch.setattr(choosing, "convert", None)
    monkeypatch.setattr(choosing, "tried", None)
    assert openvino_for(llama(300), wanted("openvino")) is not None, "neither converted nor tried again"
    with pytest.raises(TypeError):
        openvino_for(llama(300, seed=4), wanted())
    assert list(tmp_path.iterdir()) == [kept], "nothing unfinished is left"


@needs_int8
def test_weights_in_8_bits_are_written_with_when_asked_for_alone(wanted: Callable[..., Wanted], tmp_path: Path) -> None:
    whole = openvino_for(llama(300), wanted())
    assert whole is not None
    assert whole.name == f"openvino {version_installed()}"
    short = openvino_for(llama(300), wanted("openvino_int8", tokens=1))
    assert short is not None
    assert short.name == f"openvino {version_installed()} int8 (nncf {version_installed('nncf')})"
    small, large = sorted(file.stat().st_size for file in tmp_path.rglob("model.bin"))
    assert small < large / 3


@needs_openvino
def test_8_bits_without_what_makes_them_are_refused(
    wanted: Callable[..., Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "version_installed", lambda package="openvino": None if package == "nncf" else "1")
    with pytest.raises(EngineUnavailable, match="engine openvino_int8: nncf"):
        openvino_for(llama(300), wanted("openvino_int8"))


@needs_openvino
def test_what_a_limit_on_the_cache_left_is_made_anew(model: LlamaForCausalLM, tmp_path: Path) -> None:
    file = converted(model, tmp_path, lambda: None)
    file.with_suffix(".bin").unlink()
    assert converted(model, tmp_path, lambda: None) == file
    assert file.with_suffix(".bin").exists()


def mistral() -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**SIZES, intermediate_size=64, num_key_value_heads=1, sliding_window=8))


def rotating() -> PreTrainedModel:
    model = llama(300)
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_type": "dynamic", "factor": 2.0}
    return model


@needs_openvino
@pytest.mark.parametrize(
    ("make", "why"), [(mistral, "every token"), (rotating, "text's length")], ids=["window", "rotation"]
)
def test_models_that_would_write_something_else_stay_with_transformers(
    make: Callable[[], PreTrainedModel], why: str, wanted: Callable[..., Wanted], told: list[str]
) -> None:
    assert openvino_for(make().eval(), wanted()) is None
    (sentence,) = told
    assert sentence.startswith("writing: with transformers, since OpenVINO cannot write with this model: ")
    assert why in sentence
    with pytest.raises(EngineUnavailable):
        openvino_for(make().eval(), wanted("openvino"))


@needs_openvino
def test_a_conversion_that_says_something_else_does_not_write(
    wanted: Callable[..., Wanted], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = choosing.convert
    monkeypatch.setattr(choosing, "convert", lambda model, file, weights: convert(llama(300, seed=9), file, weights))
    assert openvino_for(llama(300), wanted()) is None
    assert "deviations from what transformers computes" in told[0]


@needs_openvino
def test_a_model_that_cannot_be_traced_stays_with_transformers(wanted: Callable[..., Wanted], told: list[str]) -> None:
    model = llama(300)

    def forward(self: object, input_ids: object = None, position_ids: object = None, **more: object) -> object:
        raise AssertionError

    model.forward = forward.__get__(model)  # type: ignore[method-assign]
    with pytest.raises(EngineUnavailable, match="conversion fails"):
        openvino_for(model, wanted("openvino"))
    assert told == []


@needs_openvino
def test_a_crash_in_native_code_is_not_the_jobs(
    wanted: Callable[..., Wanted], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -FPE $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    assert openvino_for(llama(300), wanted()) is None
    assert "a first try of it ended by signal 8" in told[0]


@needs_openvino
def test_nothing_is_reported_to_anybody() -> None:
    openvino()
    assert sys.modules["openvino_telemetry"] is None
