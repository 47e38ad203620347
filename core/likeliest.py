"""What a server tells of its probabilities: the likeliest tokens at each place, by their ids."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Place = Sequence[Any]
"""One place of a text: `[id of the token that was drawn, [[id, log-probability] of each of the likeliest]]`."""
TOKENS_AS_IDS = "return_tokens_as_token_ids"
"""What vLLM and this service are asked for, so that they write tokens as their ids; other servers may refuse it."""
ID_PREFIX = "token_id:"
LEAST = -100.0
"""Some servers write -9999 for what is all but impossible, and JSON knows no infinity."""


def places_of(choice: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the places of a chat completion's choice; none where a token's id is not told.

    Only ids are taken: a token's text may be that of several tokens, or half a character.
    """
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    try:
        return tuple(_place(token) for token in content or ())
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _place(token: Mapping[str, Any]) -> Place:
    return (_id_of(token), tuple(_likeliest(token)))


def _likeliest(token: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    for other in token["top_logprobs"]:
        yield _id_of(other), max(LEAST, min(0.0, float(other["logprob"])))


def _id_of(token: Mapping[str, Any]) -> int:
    """Read `token_id:7`, as vLLM and this service write it on demand, or llama.cpp's `id`. Raises ValueError."""
    written = str(token["token"])
    found = int(written.removeprefix(ID_PREFIX)) if written.startswith(ID_PREFIX) else int(token["id"])
    if found < 0:
        raise ValueError(found)
    return found
