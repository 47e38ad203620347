"""What a stored model's tokenizer says, read from its files without loading it."""

import json
from functools import lru_cache
from typing import Any

from core.blobs import Blobs, Stored
from core.tables import Model
from core.vocabulary import difference

TEMPLATES = ("chat_template.jinja", "chat_template.json")
MAX_READ_BYTES = 64 << 20


def has_chat_template(blobs: Blobs, model: Model) -> bool:
    """Tell whether a model's tokenizer writes chats. Raises BlobMissing, BlobDamaged."""
    if any(_file(model, name) for name in TEMPLATES):
        return True
    config = _json(blobs, _file(model, "tokenizer_config.json"))
    return bool(config.get("chat_template"))


def tokens_differ(blobs: Blobs, student: Model, teacher: Model) -> str | None:
    """Return how a student's tokens are not its teacher's, in words; None where they are, or where files do not tell.

    Raises BlobMissing, BlobDamaged.
    """
    own, theirs = _file(student, "tokenizer.json"), _file(teacher, "tokenizer.json")
    if own is None or theirs is None or own.sha256 == theirs.sha256:
        return None
    return _difference(blobs, own, theirs)


@lru_cache(maxsize=256)
def _difference(blobs: Blobs, own: Stored, theirs: Stored) -> str | None:
    student, teacher = _vocabulary(_json(blobs, own)), _vocabulary(_json(blobs, theirs))
    return difference(student, teacher) if student and teacher else None


def _vocabulary(written: dict[str, Any]) -> dict[str, int] | None:
    """Token -> id of a tokenizer.json (huggingface/tokenizers): the model's own words and those added to them."""
    model, added = written.get("model"), written.get("added_tokens")
    words = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(words, list):
        words = {pair[0]: place for place, pair in enumerate(words) if isinstance(pair, list) and pair}
    if not isinstance(words, dict):
        return None
    found = {str(token): place for token, place in words.items() if type(place) is int}
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and type(token.get("id")) is int:
            found[str(token.get("content"))] = token["id"]
    return found


def _file(model: Model, path: str) -> Stored | None:
    named = next((file for file in model.files if file["path"] == path), None)
    return Stored(named["blob_key"], named["bytes"], named["sha256"]) if named is not None else None


def _json(blobs: Blobs, stored: Stored | None) -> dict[str, Any]:
    """Return a stored JSON object; an empty one where there is none, or none that was bounded when it came."""
    if stored is None or stored.bytes > MAX_READ_BYTES:
        return {}
    try:
        found = json.loads(b"".join(blobs.stream(stored)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
