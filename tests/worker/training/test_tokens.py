from pathlib import Path
from typing import Any

import numpy as np

from core.spec import DatasetSpec
from tests.worker.training.conftest import WORDS, Lab, Notebook, sentences, wordpiece, write_parquet
from worker.training.data import Examples, read
from worker.training.tokens import encode


def examples_of(tmp_path: Path, columns: dict[str, list[Any]], /, **spec: Any) -> Examples:
    path = write_parquet(tmp_path / "texts.parquet", columns)
    return read(path, DatasetSpec.model_validate({"id": "ds", **spec}), 0)


def test_a_batch_is_what_the_tokenizer_itself_would_make(tmp_path: Path, tokenizer: Any) -> None:
    columns = sentences(30, 30)
    encoded = encode(examples_of(tmp_path, columns), tokenizer, 10, tmp_path / "cache")
    rows = [3, 0, 21]
    expected = tokenizer(
        [columns["text"][row] for row in rows], truncation=True, max_length=10, padding="longest", return_tensors="pt"
    )
    found = encoded.batch(rows)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].equal(tensor), name


def test_pairs_are_told_apart_by_their_types(tmp_path: Path, tokenizer: Any) -> None:
    columns = {"text": ["good film"] * 4, "other": ["bad story", "cold"] * 2, "label": ["a", "b"] * 2}
    examples = examples_of(tmp_path, columns, columns={"text_pair": "other"}, validation=0.0, test=0.25)
    encoded = encode(examples, tokenizer, 16, tmp_path / "cache")
    expected = tokenizer(columns["text"][:2], columns["other"][:2], padding="longest", return_tensors="pt")
    found = encoded.batch([0, 1])
    assert found["token_type_ids"].equal(expected["token_type_ids"])
    assert found["token_type_ids"].sum() > 0


def test_cut_texts_are_counted_exactly(tmp_path: Path, tokenizer: Any) -> None:
    columns = {"text": ["good " * count for count in range(1, 11)], "label": ["a", "b"] * 5}
    encoded = encode(examples_of(tmp_path, columns), tokenizer, 6, tmp_path / "cache")
    assert encoded.is_cut.tolist() == [False] * 4 + [True] * 6
    assert encoded.lengths.max() == 6


def test_padding_goes_to_the_left_where_the_tokenizer_pads_left(tmp_path: Path) -> None:
    left = wordpiece(WORDS)
    left.padding_side = "left"
    columns = {"text": ["good", "good film and story"] * 5, "label": ["a", "b"] * 5}
    encoded = encode(examples_of(tmp_path, columns), left, 16, tmp_path / "cache")
    assert encoded.batch([0, 1])["attention_mask"].tolist() == [[0, 0, 0, 1, 1, 1], [1] * 6]


def test_the_files_are_mapped_and_not_held(tmp_path: Path, tokenizer: Any) -> None:
    encoded = encode(examples_of(tmp_path, sentences(20, 20)), tokenizer, 16, tmp_path / "cache")
    assert isinstance(encoded.ids, np.memmap)


def test_a_job_says_how_many_texts_are_cut_and_for_whom(lab: Lab) -> None:
    notebook = Notebook()
    report = lab.run(notebook, training={"max_steps": 2, "max_length": 8}, evaluation={"baseline": False}).report
    assert report.examples.truncated > 0
    assert notebook.said(f"{report.examples.truncated} of 152 training texts are cut at 8 tokens for the student.")
