"""Examples as token ids, and which of the tokens are learned: encoded once, kept in flat memory-mapped arrays.

Legend: B sequences, T positions, N kept tokens of a batch.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from worker.training.device import device
from worker.training.language.chats import Piece, answer_pieces, chat_pieces
from worker.training.language.data import Writing, Writings
from worker.training.split import Rows
from worker.training.tokens import Encoded

Mask = NDArray[np.bool_]
Cut = Callable[[Writing, PreTrainedTokenizerBase, str], Iterable[Piece]]
"""Cuts an example into pieces; the last argument is the model's name, for errors."""


@dataclass(frozen=True)
class Scripts(Encoded):
    """The token ids of all examples, end to end, and which are targets: predicted from all before them, and learned."""

    is_target: Mask

    @property
    def digest(self) -> str:
        return hashlib.sha256(super().digest.encode() + self.is_target.tobytes()).hexdigest()

    @cached_property
    def target_starts(self) -> NDArray[np.int64]:
        """How many targets come before each example, and at the end how many there are."""
        totals = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.is_target, dtype=np.int64)])
        before: NDArray[np.int64] = totals[self.starts]
        return before

    def kept(self, rows: Sequence[int] | Rows) -> NDArray[np.int64]:
        """Return how many targets each of these examples has."""
        places = np.asarray(rows, dtype=np.int64)
        counted: NDArray[np.int64] = self.target_starts[places + 1] - self.target_starts[places]
        return counted

    def targets(self, row: int) -> NDArray[np.int32]:
        """Return the ids of one example's targets."""
        span = slice(int(self.starts[row]), int(self.starts[row + 1]))
        found: NDArray[np.int32] = self.ids[span][self.is_target[span]]
        return found

    def script(self, rows: Sequence[int] | Rows) -> dict[str, Any]:
        """Return `texts` (as Encoded.batch), `predicts` [B, T] and `targets` [N].

        `predicts` is True where the next token is a target; `targets` are those tokens, row by row.
        """
        texts = self.batch(rows)
        longest = texts["input_ids"].shape[1]
        target_BT = np.zeros((len(rows), longest), dtype=bool)
        for line, row in enumerate(rows):
            start, end = int(self.starts[row]), int(self.starts[row + 1])
            target_BT[line, : end - start] = self.is_target[start:end]
        mask_BT = torch.from_numpy(target_BT)
        predicts_BT = torch.zeros_like(mask_BT)
        predicts_BT[:, :-1] = mask_BT[:, 1:]
        return {"texts": texts, "predicts": predicts_BT, "targets": texts["input_ids"][mask_BT]}

    def prompt(self, row: int) -> Tensor:
        """Return the ids [1, T] before the first target of an example; of a plain text its first quarter."""
        start, end = int(self.starts[row]), int(self.starts[row + 1])
        first = int(self.is_target[start:end].argmax())
        length = first if first > 1 else max(1, (end - start) // 4)
        return torch.from_numpy(np.array(self.ids[start : start + length], dtype=np.int64)).unsqueeze(0)


def pieces_of(writing: Writing, tokenizer: PreTrainedTokenizerBase, name: str) -> Iterable[Piece]:
    """Cut an example into what is given and what is learned."""
    if writing.messages is not None and writing.completion is not None:
        return answer_pieces(writing.messages, writing.completion, tokenizer, name)
    if writing.messages is not None:
        return chat_pieces(writing.messages, tokenizer, name)
    given = Piece(writing.prompt, is_learned=False)
    learned = [Piece(writing.completion or "", is_learned=True, is_closed=True)] if writing.has_completion() else []
    return [given, *learned]


def write_down(
    writings: Writings,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    max_length: int,
    on_prompt: bool,
    folder: Path,
    cut: Cut = pieces_of,
) -> Scripts:
    """Encode every example once into a file under `folder`; ends beyond `max_length` tokens are cut.

    Prompt and completion are tokenized apart, as they are when a model goes on from a prompt. A completion ends with
    the end-of-text token, which is learned with it.

    Args:
        name: the model's, for errors.
        on_prompt: learn prompts as well, all but the very first token.
        cut: which pieces of an example are written down, and which of them are learned.

    Raises:
        ChatTemplateUnusable: the examples are chats and the tokenizer cannot write them down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lengths, is_cut, learned = [0], [], []
    with (folder / "ids.bin").open("wb") as file:
        for some in writings:
            for ids, is_target in _encoded(some, tokenizer, name, cut):
                file.write(np.array(ids[:max_length], dtype=np.int32).tobytes())
                mask = mask_of(is_target, max_length, on_prompt)
                learned.append(mask)
                lengths.append(len(mask))
                is_cut.append(len(ids) > max_length)
    is_empty = not sum(lengths)
    return Scripts(
        ids=np.zeros(0, np.int32) if is_empty else np.memmap(folder / "ids.bin", dtype=np.int32, mode="r"),
        types=None,
        starts=np.cumsum(np.array(lengths, dtype=np.int64)),
        is_cut=np.array(is_cut, dtype=bool),
        pad_id=int(tokenizer.pad_token_id or 0),
        pads_left=False,
        is_target=np.concatenate(learned),
    )


def mask_of(is_target: Sequence[bool], max_length: int, on_prompt: bool) -> Mask:
    """Return which tokens of an example are learned, as far as it is read."""
    mask: Mask = np.array(is_target[:max_length], dtype=bool) | on_prompt
    mask[:1] = False  # nothing comes before the first token that it could be predicted from
    return mask


def _encoded(
    writings: Sequence[Writing], tokenizer: PreTrainedTokenizerBase, name: str, cut: Cut
) -> Iterator[tuple[list[int], list[bool]]]:
    for opening, some in stretches(writings, tokenizer, name, cut):
        tokens, mask = list(opening), [False] * len(opening)
        for stretch in some:
            tokens += stretch.ids
            mask += [stretch.piece.is_learned] * len(stretch.ids)
        yield tokens, mask


@dataclass(frozen=True)
class Stretch:
    """A piece as tokens; the one that closes it is among them."""

    piece: Piece
    ids: list[int]
    spans: list[tuple[int, int]]
    """Which characters of the piece each token stands for, but for the one that closes it; empty unless asked for."""


def stretches(
    writings: Sequence[Writing], tokenizer: PreTrainedTokenizerBase, name: str, cut: Cut, *, with_spans: bool = False
) -> Iterator[tuple[list[int], list[Stretch]]]:
    """Yield of each example the ids that open it, and its pieces.

    Raises:
        ChatTemplateUnusable: as `write_down`.
    """
    pieces = [list(cut(one, tokenizer, name)) for one in writings]
    texts = [piece.text for some in pieces for piece in some]
    told = {"return_attention_mask": False, "return_offsets_mapping": with_spans, "verbose": False}
    found: Any = tokenizer(texts, add_special_tokens=False, **told) if texts else {"input_ids": []}
    ids, spans = iter(found["input_ids"]), iter(found.get("offset_mapping", [[]] * len(texts)))
    opening, end = opening_of(tokenizer), tokenizer.eos_token_id
    for one, some in zip(writings, pieces, strict=True):
        made = []
        for piece in some:
            closing = [end] if piece.is_closed and end is not None else []
            made.append(Stretch(piece, [*next(ids), *closing], next(spans)))
        yield [] if one.messages is not None else opening, made


def opening_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that the tokenizer puts before a text: its beginning-of-text token, or none."""
    alone = list(tokenizer("")["input_ids"])
    return alone[:1] if alone and alone[0] == tokenizer.bos_token_id else []


def without(scripts: Scripts, surplus: Mask) -> Scripts:
    """Return scripts in which some tokens are no targets any more."""
    return replace(scripts, is_target=scripts.is_target & ~surplus)


def on_device(script: Mapping[str, Any]) -> dict[str, Any]:
    """Return a script whose tensors are where the models are."""
    texts = {name: tensor.to(device()) for name, tensor in script["texts"].items()}
    return {"texts": texts, "predicts": script["predicts"].to(device()), "targets": script["targets"].to(device())}
