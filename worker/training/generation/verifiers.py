"""Whether the answer in a text is right: rejection sampling (DeepSeek-R1 2025, arXiv:2501.12948, 2.3.3)."""

import json
import re
from decimal import Decimal
from typing import NoReturn, Protocol

import jsonschema_rs

from core.methods import VerifierSpec
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.reasoning import without_reasoning

MINUS = "\N{MINUS SIGN}"
# A sign right behind a digit or letter is an operator.
NUMBER = re.compile(
    rf"(?:(?<![\w)])[-+{MINUS}])?(?:(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{{1,3}})?|\.\d+)", re.ASCII
)
RELATIVE_TOLERANCE = Decimal("1e-6")


class Verifier(Protocol):
    def answer(self, text: str) -> str | None:
        """Return the answer that a text gives, or None where it gives none."""

    def same(self, one: str, other: str) -> bool:
        """Tell whether two answers mean the same."""

    def is_right(self, text: str, expected: str | None) -> bool:
        """Tell whether a text gives the expected answer."""


class Exact:
    """The whole text, but for white space and reasoning."""

    def answer(self, text: str) -> str | None:
        return " ".join((without_reasoning(text) or "").split()) or None

    def same(self, one: str, other: str) -> bool:
        return one == other

    def is_right(self, text: str, expected: str | None) -> bool:
        given = self.answer(text)
        wanted = None if expected is None else self.expected(expected)
        return given is not None and wanted is not None and self.same(wanted, given)

    def expected(self, written: str) -> str | None:
        """Return the answer in what the data set holds, which may be the answer alone or a worked solution."""
        return self.answer(written)


class Numeric(Exact):
    """The last number in the text. Whole numbers must be equal; others may differ by a millionth of the right one."""

    def answer(self, text: str) -> str | None:
        found = NUMBER.findall(without_reasoning(text) or "")
        return found[-1].replace(",", "").replace(MINUS, "-") if found else None

    def same(self, one: str, other: str) -> bool:
        right, given = Decimal(one), Decimal(other)
        if all(number == number.to_integral_value() for number in (right, given)):
            return right == given
        return abs(right - given) <= abs(right) * RELATIVE_TOLERANCE


class Boxed(Exact):
    r"""The last \boxed{…} in the text, compared as mathematics by math-verify."""

    def __init__(self, mathematician: Mathematician) -> None:
        self.mathematician = mathematician

    def answer(self, text: str) -> str | None:
        return last_boxed(without_reasoning(text) or "")

    def same(self, one: str, other: str) -> bool:
        return self.mathematician.same(one, other)

    def expected(self, written: str) -> str | None:
        return last_boxed(written) or written.strip() or None


class Json(Exact):
    """The text is JSON and satisfies a schema. References to other documents are never fetched."""

    def __init__(self, schema: dict[str, object]) -> None:
        self.schema = jsonschema_rs.validator_for(schema, offline=True, pattern_options=jsonschema_rs.RegexOptions())

    def answer(self, text: str) -> str | None:
        try:
            value = json.loads(without_reasoning(text) or "", parse_constant=_no_json)
            return json.dumps(value, sort_keys=True) if self.schema.is_valid(value) else None
        except (ValueError, RecursionError):
            return None

    def is_right(self, text: str, expected: str | None) -> bool:
        return self.answer(text) is not None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last \boxed{…} whose braces close, or None."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        begin = start + len("\\boxed{")
        depth = 1
        for place in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
            if depth == 0:
                return text[begin:place].strip() or None
        start = text.rfind("\\boxed{", 0, start)
    return None


def verifier_of(spec: VerifierSpec, mathematician: Mathematician) -> Verifier:
    """Return what a spec asks for. Raises ValueError where a JSON schema is none."""
    if spec.type == "exact":
        return Exact()
    if spec.type == "numeric":
        return Numeric()
    if spec.type == "boxed":
        return Boxed(mathematician)
    assert spec.json_schema is not None
    return Json(spec.json_schema)
