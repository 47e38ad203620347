"""Verifiers: what counts as the right answer."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.methods import VerifierSpec
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.verifiers import Boxed, Exact, Json, Numeric, last_boxed, verifier_of


@pytest.fixture(scope="module")
def mathematician() -> Iterator[Mathematician]:
    with Mathematician(answer_seconds=60) as mathematician:
        yield mathematician


@pytest.mark.parametrize(
    ("text", "expected", "is_right"),
    [
        ("Paris", " Paris\n", True),
        ("<think>London? no</think>\n\nParis", "Paris", True),
        ("paris", "Paris", False),
        ("<think>Paris", "Paris", False),
        ("", "Paris", False),
    ],
)
def test_exact(text: str, expected: str, is_right: bool) -> None:
    assert Exact().is_right(text, expected) == is_right


@pytest.mark.parametrize(
    ("text", "expected", "is_right"),
    [
        ("so 3 + 4 = 7.", "7", True),
        ("it costs $1,234.50.", "1234.5", True),
        ("5-3", "3", True),
        ("it is -3", "3", False),
        ("it is \N{MINUS SIGN}3", "-3", True),
        ("about 0.3333333", "0.33333333", True),
        ("about 0.3334", "0.33333333", False),
        ("1000001", "1000000", False),
        ("x = 2e3", "2000", True),
        ("<think>7</think> 8", "7", False),
        ("7", "The steps are 1 and 2, so #### 7", True),
        ("no number", "7", False),
        ("7", "no number", False),
        ("1e999", "3", False),
    ],
)
def test_numeric(text: str, expected: str, is_right: bool) -> None:
    assert Numeric().is_right(text, expected) == is_right


@given(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_every_number_is_itself_and_not_its_successor(number: object) -> None:
    assert Numeric().is_right(f"it is {number}", str(number))
    if isinstance(number, int):
        assert not Numeric().is_right(f"it is {number + 1}", str(number))


@pytest.mark.parametrize(
    ("text", "expected", "is_right"),
    [
        (r"thus \boxed{\frac{1}{2}}", "0.5", True),
        (r"thus \boxed{x+1}", r"so it is \boxed{1+x}", True),
        (r"first \boxed{3}, no: \boxed{4}", "4", True),
        (r"\boxed{4}", "5", False),
        ("4", "4", False),
        (r"\boxed{\{1, 2\}}", r"\{2, 1\}", True),
        (r"\boxed{", "4", False),
    ],
)
def test_boxed(text: str, expected: str, is_right: bool, mathematician: Mathematician) -> None:
    assert Boxed(mathematician).is_right(text, expected) == is_right


def test_an_endless_expression_is_wrong_and_the_next_is_judged() -> None:
    with Mathematician(answer_seconds=0.5) as mathematician:
        assert not mathematician.same("5", "9^{9^{9}}")
        mathematician.answer_seconds = 60
        assert mathematician.same("0.25", r"\frac14")


def test_the_last_box_that_closes_counts() -> None:
    assert last_boxed(r"\boxed{a} \boxed{\sqrt{b}+\{} and \boxed{c") == r"\sqrt{b}+\{"


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ('{"n": 3}', True),
        ('<think>{"n": "x"}</think>{"n": 3}', True),
        ('{"n": "3"}', False),
        ('{"n": NaN}', False),
        ('here: {"n": 3}', False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_json_schema(text: str, is_right: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
    verifier = verifier_of(VerifierSpec(type="json_schema", json_schema=schema), Mathematician())
    assert verifier.is_right(text, None) == is_right


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:1/schema"}])
def test_a_schema_that_is_none_or_lies_elsewhere_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"nonsense|offline|retriev|http"):
        Json(schema)


def test_a_pattern_of_a_schema_takes_no_exponential_time() -> None:
    assert not Json({"type": "string", "pattern": "^(a+)+$"}).is_right('"' + "a" * 5000 + '!"', None)
