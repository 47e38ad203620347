"""What models write for the report, within the positions that they have."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from core.spec import DatasetSpec
from tests.worker.training.language.conftest import WritingLab, llama
from worker.training.language import data
from worker.training.language.samples import ALONE, write
from worker.training.language.scripts import write_down


@pytest.mark.parametrize("positions", [40, 64])
def test_prompts_as_long_as_a_models_positions_are_written_after(
    lab: WritingLab, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2's positions are a table: beyond its end there is nothing to read."""
    monkeypatch.setattr("worker.training.language.samples.SAMPLE_TOKENS", 48)
    small = {"model_type": "gpt2", "n_positions": positions, "n_embd": 32, "n_layer": 1, "n_head": 2}
    _, report = lab.run(student={"config": small}, training={"max_steps": 2, "max_length": positions})
    assert report.student_after.tokens_per_second > 0


def test_what_a_models_first_step_costs_once_is_no_part_of_its_speed(
    dataset: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, first_seconds, slept = llama(), 1000.0, []
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + sum(slept))
    monkeypatch.setattr("worker.training.language.samples.time", clock)

    def stumble(*_: Any) -> None:
        if not slept:
            slept.append(first_seconds)

    model.register_forward_pre_hook(stumble)
    writings = data.read(dataset, DatasetSpec.model_validate({"id": "ds"}), 0)
    scripts = write_down(writings, tokenizer, "the student", 64, False, tmp_path / "tokens")
    written = write(model, tokenizer, scripts, np.arange(3), "fp32")
    assert slept
    assert sum(map(len, written.tokens[:ALONE])) / written.tokens_per_second < first_seconds
