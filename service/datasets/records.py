"""Examples out of each format, with the line where each begins; what is wrong with one is told, not kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from service.datasets.faults import MAX_FAULTS
from service.datasets.pictures import Picture
from service.problems import Fault

Value = str | int | float | bool | list[Any] | dict[str, Any] | Picture | None
Record = dict[str, Value]


@dataclass
class Findings:
    """Faults as they are found. The tenth ends the reading."""

    faults: list[Fault] = field(default_factory=list)
    is_repeated: bool = False
    """True where the file was read before and nothing was wrong with it."""

    def tell(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) >= MAX_FAULTS:
            raise Enough


class Enough(Exception):
    """Ten faults are known; more would help nobody."""


PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What folders and files may be called that hold a part of a data set."""

Records = Iterator[tuple[int, Record]]
