"""A grid's points are exactly its combinations, and a fault is shown where the user wrote it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.problems import Fault
from service.sweeps.grid import Point, SweepSpec, gathered, laid_over

NAMES = st.sampled_from(["T", "alpha", "training", "seed", "student"])
PATHS = st.lists(NAMES, min_size=1, max_size=3)
WRITTEN = st.recursive(
    st.none() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(NAMES, inner, max_size=3)
)
BASES = st.dictionaries(NAMES, WRITTEN, max_size=3)
GRIDS = st.dictionaries(
    st.sampled_from(["a", "b", "c.d"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    min_size=1,
)


@given(GRIDS)
def test_the_points_are_every_combination_once(grid: dict[str, list[int]]) -> None:
    spec = SweepSpec(base={}, grid=grid)
    points = spec.points()
    assert len(points) == spec.point_count == math.prod(len(values) for values in grid.values())
    assert len({json.dumps(point.written, sort_keys=True) for point in points}) == len(points)
    for point in points:
        assert all(point.values[path] in values for path, values in grid.items())
    assert [point.values for point in points] == sorted(
        (point.values for point in points),
        key=lambda values: [grid[path].index(values[path]) for path in grid],
    )


@given(BASES, PATHS, WRITTEN)
@settings(max_examples=40)
def test_laying_a_value_over_changes_that_field_alone(base: dict[str, Any], path: list[str], value: Any) -> None:
    before = json.dumps(base)
    try:
        laid = laid_over(base, path, value)
    except (AttributeError, TypeError):
        return  # the path leads through what is no object: SweepSpec refuses that
    assert json.dumps(base) == before
    part: Any = laid
    for name in path:
        part = part[name]
    assert part == value
    assert {name: laid[name] for name in laid if name != path[0]} == {
        name: base[name] for name in base if name != path[0]
    }


def test_a_bare_name_becomes_an_object_when_a_part_of_it_varies() -> None:
    base = {"teacher": "t", "dataset": "ds_1", "student": "s"}
    for part, name in (("teacher", "model"), ("dataset", "id"), ("student", "model")):
        assert laid_over(base, [part, "x"], 1)[part] == {name: base[part], "x": 1}


@pytest.mark.parametrize(
    ("base", "grid"),
    [
        ({}, {}),
        ({}, {"T": []}),
        ({}, {"T": [1, 1]}),
        ({}, {"T": list(range(65))}),
        ({}, {"T": list(range(9)), "alpha": list(range(9))}),
        ({}, {"": [1]}),
        ({}, {"a..b": [1]}),
        ({}, {".a": [1]}),
        ({}, {"training": [{}], "training.seed": [1]}),
        ({"training": 5}, {"training.seed": [1]}),
        ({"teacher": ["a", "b"]}, {"teacher.weight": [1]}),
        ({}, {f"a{place}": [1] for place in range(17)}),
    ],
)
def test_what_is_no_grid_is_refused(base: dict[str, Any], grid: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SweepSpec(base=base, grid=grid)


SWEEP = SweepSpec(
    base={"teacher": "t", "dataset": {"id": "d"}}, grid={"T": [1, 2], "training.seed": [7], "wrong.x": [1]}
)


@pytest.mark.parametrize(
    ("pointer", "code", "shown"),
    [
        ("/T", "invalid_value", "/grid/T/1"),
        ("/training/seed", "invalid_value", "/grid/training.seed/0"),
        ("/training/seed/deeper", "invalid_value", "/grid/training.seed/0/deeper"),
        ("/training/seeds", "unknown_field", "/base/training/seeds"),
        ("/training", "invalid_value", "/grid/training.seed"),
        ("/wrong", "unknown_field", "/grid/wrong.x"),
        ("/wrong/x", "unknown_field", "/grid/wrong.x"),
        ("/dataset", "invalid_split", "/base/dataset"),
        ("/teacher/model", "model_not_found", "/base/teacher/model"),
        ("/Tail", "unknown_field", "/base/Tail"),
        ("", "invalid_value", "/base"),
    ],
)
def test_a_fault_is_shown_where_it_was_written(pointer: str, code: str, shown: str) -> None:
    point = Point(SWEEP, {"T": 1, "training.seed": 0, "wrong.x": 0})
    assert point.locate(Fault(pointer=pointer, detail="is wrong", code=code)).pointer == shown


def test_a_fault_of_every_point_is_said_once_and_one_of_some_says_where() -> None:
    first, second = SweepSpec(base={"a": 1}, grid={"T": [1, 2]}).points()
    always, now_and_then = (Fault(pointer="/a", detail=detail, code="x") for detail in ("always", "sometimes"))
    found = gathered([(first, [always]), (second, [always, now_and_then])])
    assert [(fault.pointer, fault.detail) for fault in found] == [
        ("/base/a", "always"),
        ("/base/a", "sometimes (where T=2)"),
    ]
