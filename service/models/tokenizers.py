"""What a stored model's tokenizer says, read from its files: nothing of torch or transformers is loaded for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

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


def tokens_are_same(blobs: Blobs, student: Model, teacher: Model) -> bool:
    """Tell whether the files of both say that their tokens are the same. Raises BlobMissing, BlobDamaged."""
    has_both = all(_file(model, "tokenizer.json") for model in (student, teacher))
    return has_both and tokens_differ(blobs, student, teacher) is None


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


@dataclass(frozen=True)
class Token:
    id: int
    text: str


class Unreadable(Exception):
    """A tokenizer that cannot be loaded here, in words."""


class Writer:
    """A language model's tokenizer: what it makes of a text, and what it puts before and behind one.

    Raises:
        Unreadable: there is no tokenizer.json, or it is not one.
        BlobMissing, BlobDamaged: what was stored is not there as it was.
    """

    def __init__(self, blobs: Blobs, model: Model) -> None:
        stored = _file(model, "tokenizer.json")
        if stored is None:
            raise Unreadable("the model has no tokenizer.json")
        text = b"".join(blobs.stream(stored)).decode("utf-8", "replace")
        self._tokenizer: Tokenizer = _guarded(Tokenizer.from_str, text)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = _json(blobs, _file(model, "tokenizer_config.json"))
        named = {**_json(blobs, _file(model, "special_tokens_map.json")), **config}
        begin, end = (self._special(named.get(name)) for name in ("bos_token", "eos_token"))
        alone = _guarded(self._tokenizer.encode, "").ids
        self.opening = [begin] if begin is not None and alone[:1] == [begin.id] else []
        self.ending = [end] if end is not None else []

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text alone. Raises Unreadable where the tokenizer fails."""
        found = _guarded(lambda: self._tokenizer.encode(text, add_special_tokens=False))
        return [Token(id_, text[start:end]) for id_, (start, end) in zip(found.ids, found.offsets, strict=True)]

    def _special(self, written: Any) -> Token | None:
        content = written.get("content") if isinstance(written, dict) else written
        id_ = self._tokenizer.token_to_id(content) if isinstance(content, str) else None
        return Token(id_, content) if id_ is not None and isinstance(content, str) else None


def _guarded(ask: Callable[..., Any], *given: Any) -> Any:
    """Call the tokenizers library; a panic of its Rust code is no Exception, and is told by its name alone."""
    try:
        return ask(*given)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise Unreadable(f"its tokenizer.json cannot be used: {error}") from None
        raise
