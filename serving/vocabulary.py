"""The bytes of a token. A token's text may be half a character; its bytes are always what it is."""

import json
import re
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
LOWER_ONE_EIGHTH_BLOCK = "\u2581"
"""What stands for a space in the pieces of SentencePiece."""


class Vocabulary:
    """Bytes of tokens, by id."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        kinds = set(_decoders(tokenizer))
        self.special = frozenset(tokenizer.all_special_ids)
        self.byte_of = {letter: byte for byte, letter in _letters().items()} if "ByteLevel" in kinds else {}
        self.has_marked_spaces = bool(kinds & {"Metaspace", "Replace"})
        self.bytes_of = lru_cache(maxsize=None)(self._bytes_of)

    def _bytes_of(self, token: int) -> tuple[int, ...]:
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            # Heads are often padded to a round number of rows, beyond the tokens that there are.
            return ()
        if token in self.special:
            return tuple(piece.encode())
        if self.byte_of and all(letter in self.byte_of for letter in piece):
            return tuple(self.byte_of[letter] for letter in piece)
        one = ONE_BYTE.fullmatch(piece)
        if one is not None:
            return (int(one[1], 16),)
        if self.has_marked_spaces:
            piece = piece.replace(LOWER_ONE_EIGHTH_BLOCK, " ")
        return tuple(piece.encode())


def _letters() -> dict[int, str]:
    letters: dict[int, str] = bytes_to_unicode()  # type: ignore[no-untyped-call]
    return letters


def _decoders(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the kinds of the tokenizer's decoder and of all that it is made of."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ["Metaspace"]
    decoder: Any = json.loads(backend.to_str()).get("decoder") or {}
    return [str(part.get("type")) for part in [decoder, *decoder.get("decoders", [])]]
