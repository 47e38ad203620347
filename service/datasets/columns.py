"""What a column holds: its type, its nulls, and how often each value stands in it where there are few."""

import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.chats import messages_of
from service.datasets.faults import fault
from service.datasets.pictures import Picture
from service.datasets.records import Record, Value
from service.problems import Fault

Kind = Literal["string", "integer", "number", "boolean", "json", "image"]
MAX_VALUE_LENGTH = 200
MAX_VALUES_IN_ALL = 20_000
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
INT64 = 1 << 63
WORDS = {"true": True, "false": False}


@dataclass
class Frame:
    """Between which sizes the images of a column lie, in pixels, and whether all of them are grey."""

    widths: tuple[int, int]
    heights: tuple[int, int]
    channels: int

    @classmethod
    def around(cls, picture: Picture, before: "Frame | None") -> "Frame":
        widths = (*(before.widths if before else ()), picture.width)
        heights = (*(before.heights if before else ()), picture.height)
        channels = max(before.channels if before else 1, picture.channels)
        return cls((min(widths), max(widths)), (min(heights), max(heights)), channels)


@dataclass
class Column:
    name: str
    first_line: int
    kind: Kind | None = None
    count: int = 0
    characters: int = 0
    values: Counter[Any] | None = field(default_factory=Counter)
    frame: Frame | None = None
    not_chats: dict[str, Any] | None = None
    """`{"line", "why"}` of the first value that is no chat."""

    def take(self, value: Value, kind: Kind, max_values: int) -> None:
        """Count one value that is not null, whose kind fits."""
        self.kind = "number" if {self.kind, kind} == {"integer", "number"} else kind
        self.count += 1
        if isinstance(value, str):
            self.characters += len(value)
        if isinstance(value, Picture):
            self.frame = Frame.around(value, self.frame)
            self.values = None
        if self.values is None:
            return
        if kind == "json" or (isinstance(value, str) and len(value) > MAX_VALUE_LENGTH):
            self.values = None
            return
        self.values[value] += 1
        if len(self.values) > max_values:
            self.values = None

    def judge_chat(self, value: Value, line: int) -> None:
        """Remember the first value that is no chat: whoever names this column `messages` will be told."""
        if self.not_chats is None:
            try:
                messages_of(value)
            except (ValueError, RecursionError) as error:
                self.not_chats = {"line": line, "why": str(error)[:MAX_VALUE_LENGTH]}

    def fits(self, kind: Kind) -> bool:
        return self.kind is None or self.kind == kind or {self.kind, kind} == {"integer", "number"}

    def convert(self, value: Value) -> Value | bytes:
        """The value as the column's type."""
        if value is None or self.kind == "string":
            return value
        if isinstance(value, Picture):
            return value.content
        if self.kind == "json":
            return json.dumps(value, ensure_ascii=False)
        if self.kind == "number":
            return float(value)  # type: ignore[arg-type] # a number column holds numbers and text that is one
        if isinstance(value, str):
            return WORDS[value.lower()] if self.kind == "boolean" else int(value)
        return value

    def described(self, examples: int) -> dict[str, Any]:
        mean = self.characters / self.count if self.kind == "string" and self.count else None
        return {
            "name": self.name,
            "type": self.kind or "string",
            "nulls": examples - self.count,
            "values": self._named_values(),
            "mean_characters": round(mean, 1) if mean is not None else None,
            "not_chats": self.not_chats,
            "images": asdict(self.frame) if self.frame is not None else None,
        }

    def _named_values(self) -> dict[str, int] | None:
        """Keyed as training names labels: whole numbers without a point."""
        if self.values is None or self.count == 0:
            return None
        named: Counter[str] = Counter()
        typed = {value: self.convert(value) for value in self.values}
        whole = self.kind == "number" and all(float(value).is_integer() for value in typed.values())  # type: ignore[arg-type]
        for value, count in self.values.most_common():
            named[str(int(typed[value]) if whole else typed[value])] += count  # type: ignore[arg-type]
        return dict(named)


class Profile:
    """All columns of a data set, learned in one reading."""

    def __init__(self, max_values: int, cells_are_text: bool) -> None:
        self.max_values = max_values
        self.cells_are_text = cells_are_text
        self.columns: dict[str, Column] = {}
        self.examples = 0
        self._candidates: dict[str, set[Kind]] = {}

    def take(self, line: int, record: Record) -> Fault | None:
        """Learn from one example, or say what is wrong with it."""
        for name, value in record.items():
            column = self.columns.get(name)
            if column is None:
                if len(self.columns) >= 1000:
                    return fault("too_many_columns", "there are more than 1000 columns", line=line)
                if not name.strip() or len(name) > MAX_VALUE_LENGTH:
                    return fault("nameless_column", f"'{name[:50]}' is no usable name", line=line)
                column = self.columns[name] = Column(name, line)
            if value is None:
                continue
            wrong = self._take_value(column, value, line)
            if wrong is not None:
                return wrong
        self.examples += 1
        return None

    def _take_value(self, column: Column, value: Value, line: int) -> Fault | None:
        kind = kind_of(value)
        wrong = _unstorable(value, kind, line, column.name)
        if wrong is not None:
            return wrong
        if self.cells_are_text and isinstance(value, str):
            self._narrow(column.name, value)
        elif not column.fits(kind):
            if column.count == 0:
                column.first_line = line
            detail = f"this is {kind}, but the column is {column.kind} since line {column.first_line}"
            return fault("mixed_types", detail, line=line, column=column.name)
        column.take(value, kind, self.max_values)
        column.judge_chat(value, line)
        return None

    def _narrow(self, name: str, cell: str) -> None:
        """Keep of a text column's possible types those that this cell allows."""
        possible = self._candidates.setdefault(name, {"integer", "number", "boolean"})
        if possible:
            possible &= _kinds_of_cell(cell)

    def finish(self) -> list[dict[str, Any]]:
        """Decide the types and describe the columns."""
        for name, possible in self._candidates.items():
            preferred: tuple[Kind, ...] = ("integer", "number", "boolean")
            self.columns[name].kind = next((kind for kind in preferred if kind in possible), "string")
        described = [column.described(self.examples) for column in self.columns.values()]
        left = MAX_VALUES_IN_ALL
        for column in sorted(described, key=lambda column: len(column["values"] or ())):
            left -= len(column["values"] or ())
            if left < 0:
                column["values"] = None
        return described


def kind_of(value: Value) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    kinds: dict[type, Kind] = {int: "integer", float: "number", str: "string", Picture: "image"}
    return kinds.get(type(value), "json")


def _kinds_of_cell(cell: str) -> set[Kind]:
    kinds: set[Kind] = set()
    if INTEGER.fullmatch(cell) and -INT64 <= int(cell) < INT64:
        kinds |= {"integer", "number"}
    elif NUMBER.fullmatch(cell) and not LEADING_ZERO.match(cell) and math.isfinite(float(cell)):
        kinds.add("number")
    if cell.lower() in WORDS:
        kinds.add("boolean")
    return kinds


def _unstorable(value: Value, kind: Kind, line: int, name: str) -> Fault | None:
    """What neither Parquet nor a database can hold."""
    if kind == "integer" and not -INT64 <= value < INT64:  # type: ignore[operator]
        return fault("number_too_large", "an integer has more than 64 bits", line=line, column=name)
    if kind == "number" and not math.isfinite(value):  # type: ignore[arg-type]
        return fault("not_finite", "a number is too large or none", line=line, column=name)
    if kind not in ("string", "json"):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\0" in text or (kind == "json" and "\\u0000" in text):
        return fault("nul_character", "there is a NUL character", line=line, column=name)
    try:
        text.encode()
    except UnicodeEncodeError:
        return fault("lone_surrogate", "there is half of a surrogate pair", line=line, column=name)
    return None
