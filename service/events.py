"""An answer's server-sent events (WHATWG HTML, 9.2)."""

from typing import Any

from fastapi.sse import format_sse_event
from pydantic_core import to_json

ENDS_OF_LINES = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What some clients take for an end of a line, though the standard does not; in JSON they stand in texts alone."""


def event_of(data: Any, *, kind: str | None = None, place: str | None = None) -> bytes:
    """Return one event with its data as JSON, in one line whatever the texts in it hold."""
    text = to_json(data, inf_nan_mode="null").decode().translate(ENDS_OF_LINES)
    return format_sse_event(event=kind, data_str=text, id=place)
