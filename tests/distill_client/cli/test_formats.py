from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_client.cli import formats


@pytest.mark.parametrize(
    ("bytes_", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (90_868_376, "90.9 MB"), (3 * 10**12, "3.0 TB")]
)
def test_sizes(bytes_: int, text: str) -> None:
    assert formats.size(bytes_) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75, "1:15"), (59.6, "1:00"), (3700, "1:01:40"), (-5, "0:00")]
)
def test_durations(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(12, "12"), (4_386_178, "4.4 M"), (7_000_000_000, "7.0 G")])
def test_counts(number: int, text: str) -> None:
    assert formats.count(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (200, "3 min"), (7300, "2 h"), (9 * 86400 + 5, "9 d")])
def test_ages(seconds: int, text: str) -> None:
    assert formats.age(datetime.now(UTC) - timedelta(seconds=seconds)) == text


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_a_sparkline_is_never_wider_than_asked_and_marks_the_extremes(values: list[float]) -> None:
    line = formats.sparkline(values, width=32)
    assert len(line) == min(len(values), 32)
    if len(values) <= 32 and min(values) < max(values):
        assert line[values.index(max(values))] == "█"
        assert line[values.index(min(values))] == "▁"


def test_what_is_absent_is_a_dash() -> None:
    assert {formats.size(None), formats.count(None), formats.percent(None), formats.duration(None)} == {formats.ABSENT}
