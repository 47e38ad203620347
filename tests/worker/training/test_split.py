import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DatasetUnusable
from worker.training.split import drawn, named


@given(
    st.lists(st.integers(-1, 3), min_size=1, max_size=200),
    st.floats(0, 0.5),
    st.floats(0, 0.45),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_parts_cover_everything_without_overlap_and_the_same_for_the_same_seed(
    codes: list[int], validation: float, test: float, seed: int
) -> None:
    array = np.array(codes, dtype=np.int64)
    parts, again = drawn(array, validation, test, seed), drawn(array, validation, test, seed)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(together.tolist()) == list(range(len(codes)))
    assert (parts.test.tolist(), parts.validation.tolist()) == (again.test.tolist(), again.validation.tolist())


def test_shares_are_taken_of_labelled_examples_and_keep_the_classes_shares() -> None:
    codes = np.array([0] * 60 + [1] * 30 + [2] * 10 + [-1] * 500, dtype=np.int64)
    parts = drawn(codes, 0.1, 0.2, 7)
    assert (len(parts.validation), len(parts.test), len(parts.train)) == (10, 20, 570)
    assert np.bincount(codes[parts.test]).tolist() == [12, 6, 2]
    assert np.bincount(codes[parts.validation]).tolist() == [6, 3, 1]


def test_without_labels_shares_are_taken_of_all() -> None:
    parts = drawn(np.full(50, -1, dtype=np.int64), 0.0, 0.2, 0)
    assert (len(parts.test), len(parts.train)) == (10, 40)
    assert parts.held_out_name == "test"


def test_another_seed_draws_others() -> None:
    codes = np.zeros(100, dtype=np.int64)
    assert drawn(codes, 0.0, 0.2, 0).test.tolist() != drawn(codes, 0.0, 0.2, 1).test.tolist()


def test_a_column_may_name_the_parts_in_the_usual_ways() -> None:
    parts = named(["train", "Validation", "dev", "valid", "test", None, ""])
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0, 5, 6], [1, 2, 3], [4])


def test_a_part_of_another_name_is_refused() -> None:
    with pytest.raises(DatasetUnusable, match="says 'holdout'"):
        named(["train", "holdout"])


def test_validation_is_held_out_where_there_is_no_test() -> None:
    parts = named(["train", "dev"])
    assert (parts.held_out.tolist(), parts.held_out_name) == ([1], "validation")
