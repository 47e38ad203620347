"""What models write for the report, within the positions that they have."""

import pytest

from tests.worker.training.language.conftest import WritingLab


@pytest.mark.parametrize("positions", [40, 64])
def test_prompts_as_long_as_a_models_positions_are_written_after(
    lab: WritingLab, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2's positions are a table: beyond its end there is nothing to read."""
    monkeypatch.setattr("worker.training.language.samples.SAMPLE_TOKENS", 48)
    small = {"model_type": "gpt2", "n_positions": positions, "n_embd": 32, "n_layer": 1, "n_head": 2}
    _, report = lab.run(student={"config": small}, training={"max_steps": 2, "max_length": positions})
    assert report.student_after.tokens_per_second > 0
