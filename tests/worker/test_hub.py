"""The hub's shapes become ours; a hub that cannot be reached is said in words."""

from pathlib import Path

import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from core.errors import HubUnavailable
from worker.hub import _telling, fetch_dataset, fetch_model, write_parquet

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["negative", "positive"])})


def part(texts: list[str], labels: list[int]) -> Dataset:
    return Dataset.from_dict({"text": texts, "label": labels}, features=FEATURES)


def test_a_hubs_parts_become_a_column_and_its_class_numbers_names(tmp_path: Path) -> None:
    parts = DatasetDict(
        {"train": part(["a", "b"], [1, 0]), "test": part(["c"], [1]), "unsupervised": part(["d"], [-1])}
    )
    assert write_parquet(parts, tmp_path / "all.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert rows == [
        {"text": "a", "label": "positive", "split": "train"},
        {"text": "b", "label": "negative", "split": "train"},
        {"text": "c", "label": "positive", "split": "test"},
    ]


def test_one_part_stays_as_it_is_and_minus_one_is_no_label(tmp_path: Path) -> None:
    assert not write_parquet(part(["a", "d"], [1, -1]), tmp_path / "one.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "one.parquet").to_pylist()
    assert rows == [{"text": "a", "label": "positive"}, {"text": "d", "label": None}]


def test_a_hub_out_of_reach_is_said(tmp_path: Path) -> None:
    with pytest.raises(HubUnavailable, match="org/model"):
        fetch_model("org/model", None, tmp_path)
    with pytest.raises(HubUnavailable, match="org/data"):
        fetch_dataset("org/data", None, None, tmp_path / "data.parquet")


def test_bytes_that_come_from_a_hub_are_a_sign_of_life() -> None:
    heard: list[int] = []
    with _telling(lambda: heard.append(1))(total=10, disable=True) as bar:
        bar.update(5)
    assert heard == [1]
