"""docs/spec.md is what the models say, and each field says something."""

import re
from pathlib import Path

from service.reference import page

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec.md"


def test_the_page_is_made_from_the_models() -> None:
    assert SPEC.read_text(encoding="utf-8") == page(), "make it again: python -m service.reference > docs/spec.md"


def test_every_field_has_a_description() -> None:
    rows = re.findall(r"^\| `.*$", page(), re.MULTILINE)
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_no_two_parts_have_one_heading() -> None:
    headings = re.findall(r"^## (.*)$", page(), re.MULTILINE)
    assert len(set(headings)) == len(headings)
