"""Server-sent events that every client reads alike."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import event_of


@given(st.text())
def test_an_event_is_one_line_of_json_whatever_the_text(text: str) -> None:
    written = event_of({"text": text.encode("utf-8", "replace").decode()}).decode()
    line, *rest = written.splitlines()
    assert rest == [""]
    assert json.loads(line.removeprefix("data: ")) == {"text": text.encode("utf-8", "replace").decode()}


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_ends_of_lines_that_some_clients_see_are_escaped(end: str) -> None:
    assert end not in event_of({"text": f"a{end}b"}, kind="log", place="1.2").decode()
