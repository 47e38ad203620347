from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.training.conftest import Lab, Notebook, sentences, write_parquet
from worker.training.observer import Stopped
from worker.training.overlap import in_both
from worker.training.split import Rows


@given(st.lists(st.tuples(st.sampled_from("th"), st.binary(max_size=2)), max_size=30))
def test_each_held_out_example_counts_once_however_often_it_was_learned(examples: list[tuple[str, bytes]]) -> None:
    def rows(part: str) -> Rows:
        return np.array([row for row, (name, _) in enumerate(examples) if name == part], dtype=np.int64)

    learned = {seen for name, seen in examples if name == "t"}
    held_out = [seen for name, seen in examples if name == "h"]
    found = in_both(rows("t"), rows("h"), lambda row: examples[row][1], lambda: None)
    assert found == sum(seen in learned for seen in held_out)


def test_a_stop_is_heard_on_the_way() -> None:
    def stop() -> None:
        raise Stopped("shutdown")

    with pytest.raises(Stopped):
        in_both(np.arange(5), np.arange(2), lambda row: b"", stop)


def test_a_report_and_a_card_say_that_examples_were_seen(lab: Lab, tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = sentences(60, 60)
    columns["text"] = [f"{text} {place}" for place, text in enumerate(columns["text"])]
    columns["split"] = ["test"] * 20 + ["train"] * 40
    columns["text"][20:27] = columns["text"][:7]
    notebook = Notebook()
    outcome = lab.run(
        notebook,
        data=write_parquet(tmp_path / "twice.parquet", columns),
        dataset={"columns": {"split": "split"}, "validation": 0.0, "test": 0.0},
        training={"max_steps": 2},
        evaluation={"baseline": False},
    )
    assert outcome.report.examples.in_both == 7
    assert notebook.said("7 of 20 test examples are in the training part too")
    card = (outcome.student / "README.md").read_text()
    assert "\nIn the training part too, exactly as the student reads them: 7.\n" in card
    assert "trained no model on" not in card
