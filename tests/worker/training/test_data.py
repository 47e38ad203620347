from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetUnusable
from core.spec import DatasetSpec
from tests.worker.training.conftest import write_parquet
from worker.training.data import Examples, read


@pytest.fixture
def reading(tmp_path: Path):  # type: ignore[no-untyped-def]
    def reading_(columns: dict[str, list[Any]], /, seed: int = 0, **spec: Any) -> Examples:
        path = write_parquet(tmp_path / "data.parquet", columns)
        return read(path, DatasetSpec.model_validate({"id": "ds", **spec}), seed)

    return reading_


TEXTS = [f"text {place}" for place in range(20)]


def test_labels_are_names_and_empty_ones_are_none(reading: Any) -> None:
    examples = reading({"text": TEXTS, "label": ["a", "b", None, "", " "] * 4})
    assert examples.names == ["a", "b"]
    assert examples.codes.tolist() == [0, 1, -1, -1, -1] * 4


def test_whole_numbers_from_a_column_with_gaps_are_whole_again(reading: Any) -> None:
    examples = reading({"text": TEXTS, "label": [10.0, 9.0, None, float("nan")] * 5})
    assert examples.names == ["9", "10"]


def test_booleans_are_labels_too(reading: Any) -> None:
    assert reading({"text": TEXTS, "label": [True, False] * 10}).names == ["False", "True"]


def test_examples_without_a_text_are_left_out_and_counted(reading: Any) -> None:
    examples = reading({"text": [None, "", "  ", *TEXTS], "label": ["a", "b"] * 11 + ["a"]})
    assert (len(examples), examples.without_content) == (20, 3)
    assert [text for texts, _ in examples.texts() for text in texts] == TEXTS


def test_numbers_are_read_as_texts_and_pairs_stay_together(reading: Any) -> None:
    columns = {"text": list(range(20)), "other": TEXTS, "label": ["a", "b"] * 10}
    examples = reading(columns, columns={"text": "text", "text_pair": "other"})
    texts, pairs = next(iter(examples.texts()))
    assert (texts[3], pairs[3]) == ("3", "text 3")


def test_max_examples_takes_the_same_ones_for_the_same_seed(reading: Any) -> None:
    columns = {"text": TEXTS, "label": ["a", "b"] * 10}
    first, again = (reading(columns, max_examples=8).rows.tolist() for _ in range(2))
    assert (first, len(first)) == (again, 8)
    assert reading(columns, max_examples=8).without_content == 0
    assert reading(columns, seed=1, max_examples=8).rows.tolist() != first


def test_a_split_column_decides(reading: Any) -> None:
    columns = {"text": TEXTS, "label": ["a", "b"] * 10, "part": ["train"] * 10 + ["test"] * 6 + ["dev"] * 4}
    parts = reading(columns, columns={"split": "part"}).parts
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (10, 4, 6)


@pytest.mark.parametrize(
    ("columns", "spec", "words"),
    [
        ({"body": TEXTS, "label": ["a"] * 20}, {}, "no column 'text'; it has body, label"),
        ({"text": TEXTS, "label": ["a", "b"] * 10}, {"columns": {"split": "part"}}, "no column 'part'"),
        ({"text": TEXTS, "label": ["a"] * 20}, {}, "all labels are 'a'"),
        ({"text": ["", None], "label": ["a", "b"]}, {}, "no example has a text"),
        ({"text": TEXTS, "label": ["a", "b"] * 10}, {"validation": 0.0, "test": 0.0}, "nothing is held out"),
        (
            {"text": TEXTS, "label": ["a", "b"] * 8 + [None] * 4, "part": ["train"] * 16 + ["test"] * 4},
            {"columns": {"split": "part"}},
            "no example of the test part has a label",
        ),
        (
            {"text": TEXTS, "label": ["a", "b"] * 10, "part": ["test"] * 20},
            {"columns": {"split": "part"}},
            "nothing is left to train on",
        ),
    ],
)
def test_a_data_set_that_cannot_be_learned_from_is_refused_in_words(
    reading: Any, columns: dict[str, list[Any]], spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(DatasetUnusable, match=words):
        reading(columns, **spec)


def test_a_missing_label_column_is_a_data_set_without_labels(reading: Any) -> None:
    examples = reading({"text": TEXTS})
    assert (examples.names, set(examples.codes.tolist())) == ([], {-1})
