import pytest

from worker.training.labels import by_number_or_name, missing_from, permutation_to, places_among


@pytest.mark.parametrize(
    ("names", "classes", "places"),
    [
        (["neg", "pos"], ["pos", "neg"], [1, 0]),
        (["NEG", "pos"], ["Neg", "Pos"], [0, 1]),
        (["0", "1"], ["NEGATIVE", "POSITIVE"], [0, 1]),
        (["2"], ["a", "b", "c"], [2]),
        (["LABEL_1"], ["LABEL_0", "LABEL_1"], [1]),
        (["2"], ["a", "b"], None),
        (["neutral"], ["neg", "pos"], None),
        (["A", "a"], ["a", "A"], [1, 0]),
    ],
)
def test_names_match_as_written_then_without_case_then_as_numbers(
    names: list[str], classes: list[str], places: list[int] | None
) -> None:
    assert places_among(names, classes) == places


def test_a_permutation_needs_the_same_classes() -> None:
    assert permutation_to(["b", "a", "c"], ["a", "b", "c"]) == [1, 0, 2]
    assert permutation_to(["a", "b", "c"], ["a", "b"]) is None
    assert permutation_to(["a", "b"], ["a", "x"]) is None


def test_whole_numbers_are_sorted_as_numbers() -> None:
    assert by_number_or_name(["10", "9", "-1"]) == ["-1", "9", "10"]
    assert by_number_or_name(["10", "9", "x"]) == ["10", "9", "x"]


def test_what_is_missing_is_named_without_regard_to_case() -> None:
    assert missing_from(["Neg", "Pos"], ["neg", "neutral"]) == ["neutral"]
