"""What a chat is: who may speak in one, and how it is written in a data set."""

import json
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
Message = dict[str, str]


def messages_of(cell: Any) -> list[Message]:
    """Return the messages of a cell: a list of {role, content}, as it is or as JSON.

    Raises:
        ValueError: it is something else, in words.
    """
    found = json.loads(cell) if isinstance(cell, str) else cell
    if not isinstance(found, list) or not found:
        raise ValueError("messages are no list of {role, content}")
    checked = []
    for place, message in enumerate(found):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise ValueError(f"message {place + 1} has the role {role!r}; it may be {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"message {place + 1} has no text in its content")
        checked.append({"role": str(role), "content": message["content"]})
    return checked
