"""A grid of values laid over a spec: its points, and where a fault of one of them stands in what the user wrote."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from core.spec import DatasetSpec, TeacherSpec
from core.students import StudentSpec
from service.problems import Fault, pointer_of

MOST_POINTS = 64
NAMED = {"teacher": TeacherSpec.name_field, "student": StudentSpec.name_field, "dataset": DatasetSpec.name_field}
"""Parts of a spec that may be written as just a name, and the field that the name is short for."""
UNKNOWN = "unknown_field"

Path = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=200)]
Axis = Annotated[list[Any], Field(min_length=1, max_length=MOST_POINTS)]


class SweepSpec(BaseModel):
    """One spec, and values for some of its fields. Each combination of values becomes a job."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    base: dict[str, Any] = Field(
        description="A job's spec, as POST /v1/jobs takes it. What the grid gives may be left out."
    )
    grid: Annotated[dict[Path, Axis], Field(min_length=1, max_length=16)] = Field(
        description=f"Values by the path of a field; at most {MOST_POINTS} combinations."
    )

    @model_validator(mode="after")
    def _is_a_grid(self) -> Self:
        for path, values in self.grid.items():
            if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
                raise _wrong_grid(path, "has a value twice")
            for other in self.grid:
                if other.startswith(f"{path}."):
                    raise _wrong_grid(path, f"holds '{other}', which has values of its own")
        count = self.point_count
        if count > MOST_POINTS:
            said = {"count": count, "most": MOST_POINTS, "place": ["grid"]}
            raise PydanticCustomError("too_many_points", "the grid has {count} points, more than {most}", said)
        for path in self.grid:
            self._require_way_to(path)
        return self

    def _require_way_to(self, path: str) -> None:
        part: Any = self.base
        for name in path.split(".")[:-1]:
            part = part.get(name)
            if part is None or isinstance(part, str):
                return
            if not isinstance(part, dict):
                raise _wrong_grid(path, f"leads through '{name}', which is no object in base")

    @property
    def point_count(self) -> int:
        count = 1
        for values in self.grid.values():
            count *= len(values)
        return count

    def points(self) -> "list[Point]":
        """Return every combination, the last path's values changing fastest."""
        paths = list(self.grid)
        places = itertools.product(*(range(len(values)) for values in self.grid.values()))
        return [Point(self, dict(zip(paths, place, strict=True))) for place in places]


def _wrong_grid(path: str, why: str) -> PydanticCustomError:
    return PydanticCustomError("invalid_grid", "'{path}' {why}", {"path": path, "why": why, "place": ["grid", path]})


@dataclass(frozen=True)
class Point:
    """One combination: of each path, the place of its value."""

    sweep: SweepSpec
    places: Mapping[str, int]

    @property
    def values(self) -> dict[str, Any]:
        return {path: self.sweep.grid[path][place] for path, place in self.places.items()}

    @property
    def written(self) -> dict[str, Any]:
        """The spec of this point, as a user would have written it alone."""
        spec = self.sweep.base
        for path, value in self.values.items():
            spec = laid_over(spec, path.split("."), value)
        return spec

    @property
    def in_words(self) -> str:
        return ", ".join(f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in self.values.items())

    def locate(self, fault: Fault) -> Fault:
        """Return the fault of this point's spec with its pointer into the sweep's body."""
        for path, place in self.places.items():
            axis, at = pointer_of(["grid", path]), pointer_of(path.split("."))
            is_above = at.startswith(f"{fault.pointer}/") and not self._is_written(fault.pointer)
            if is_above or (fault.code == UNKNOWN and fault.pointer == at):
                return fault.model_copy(update={"pointer": axis})
            if f"{fault.pointer}/".startswith(f"{at}/"):
                return fault.model_copy(update={"pointer": f"{axis}/{place}{fault.pointer[len(at) :]}"})
        return fault.model_copy(update={"pointer": f"/base{fault.pointer}"})

    def _is_written(self, pointer: str) -> bool:
        part: Any = self.sweep.base
        for name in pointer.split("/")[1:]:
            if not isinstance(part, dict) or name not in part:
                return False
            part = part[name]
        return True


def laid_over(written: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a spec with one field changed; a part that was written as a bare name becomes an object."""
    name, *rest = path
    if not rest:
        return {**written, name: value}
    inner = written.get(name)
    if isinstance(inner, str):
        inner = {NAMED.get(name, "name"): inner}
    return {**written, name: laid_over(inner or {}, rest, value)}


def gathered(found: Sequence[tuple[Point, Sequence[Fault]]]) -> list[Fault]:
    """Return the faults of all points, each once; one of the base that not every point has says where it is first."""
    first: dict[tuple[str, str], tuple[Fault, Point]] = {}
    times: dict[tuple[str, str], int] = {}
    for point, faults in found:
        for fault in (point.locate(fault) for fault in faults):
            key = (fault.pointer, fault.detail)
            first.setdefault(key, (fault, point))
            times[key] = times.get(key, 0) + 1
    return [
        fault
        if times[key] == len(found) or fault.pointer.startswith("/grid")
        else fault.model_copy(update={"detail": f"{fault.detail} (where {point.in_words})"})
        for key, (fault, point) in first.items()
    ]
