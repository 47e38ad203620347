"""Texts as token ids: encoded once, kept in flat memory-mapped arrays, padded to the longest of each batch.

Legend: B sequences, T positions.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from worker.training.data import Examples
from worker.training.models import positions_of
from worker.training.split import Rows

SANE_LENGTH = 1_000_000
"""Tokenizers that know no limit say 10^30."""


@dataclass(frozen=True)
class Encoded:
    """The token ids of all examples, end to end; example i is `ids[starts[i]:starts[i + 1]]`."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8] | None
    starts: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    """True where the text was longer than max_length."""
    pad_id: int
    pads_left: bool

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    @property
    def digest(self) -> str:
        """What tells these texts, as this tokenizer cuts them, from all others."""
        digest = hashlib.sha256(np.ascontiguousarray(self.starts).tobytes())
        for array in (self.ids, self.types):
            digest.update(memoryview(b"none") if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def batch(self, rows: Sequence[int] | Rows) -> dict[str, Tensor]:
        """Return input_ids and attention_mask [B, T] (and token_type_ids where the model reads them)."""
        spans = [(int(self.starts[row]), int(self.starts[row + 1])) for row in rows]
        longest = max(end - start for start, end in spans)
        ids_BT = np.full((len(spans), longest), self.pad_id, dtype=np.int64)
        mask_BT = np.zeros((len(spans), longest), dtype=np.int64)
        types_BT = np.zeros((len(spans), longest), dtype=np.int64)
        for line, (start, end) in enumerate(spans):
            place = slice(longest - (end - start), None) if self.pads_left else slice(None, end - start)
            ids_BT[line, place] = self.ids[start:end]
            mask_BT[line, place] = 1
            if self.types is not None:
                types_BT[line, place] = self.types[start:end]
        arrays = {"input_ids": ids_BT, "attention_mask": mask_BT}
        if self.types is not None:
            arrays["token_type_ids"] = types_BT
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def seen(self, row: int) -> bytes:
        return self.ids[int(self.starts[row]) : int(self.starts[row + 1])].tobytes()

    def remarks(self, train: Rows, reader: str) -> Iterator[str]:
        cut = int(self.is_cut[train].sum())
        if cut:
            longest = int(self.lengths.max())
            yield f"{cut:,} of {len(train):,} training texts are cut at {longest} tokens for {reader}."


def encode(examples: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int, folder: Path) -> Encoded:
    """Encode every example once into files under `folder`; texts over `max_length` tokens are cut and counted."""
    folder.mkdir(parents=True, exist_ok=True)
    has_types = "token_type_ids" in tokenizer.model_input_names
    lengths: list[NDArray[np.int64]] = []
    cut: list[NDArray[np.bool_]] = []
    with (folder / "ids.bin").open("wb") as ids, (folder / "types.bin").open("wb") as types:
        for texts, pairs in examples.texts():
            encoded, is_cut = _encode_some(tokenizer, texts, pairs, max_length)
            ids.write(_flat(encoded["input_ids"], np.int32))
            if has_types:
                types.write(_flat(encoded["token_type_ids"], np.int8))
            lengths.append(np.array([len(line) for line in encoded["input_ids"]], dtype=np.int64))
            cut.append(np.array(is_cut, dtype=bool))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(lengths))])
    return Encoded(
        ids=np.memmap(folder / "ids.bin", dtype=np.int32, mode="r"),
        types=np.memmap(folder / "types.bin", dtype=np.int8, mode="r") if has_types else None,
        starts=starts,
        is_cut=np.concatenate(cut),
        pad_id=int(tokenizer.pad_token_id or 0),
        pads_left=tokenizer.padding_side == "left",
    )


def _encode_some(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], pairs: list[str] | None, max_length: int
) -> tuple[Any, Iterable[bool]]:
    encoded = tokenizer(texts, pairs, truncation=True, max_length=max_length, return_attention_mask=False)
    if tokenizer.is_fast:
        return encoded, [bool(encoding.overflowing) for encoding in encoded.encodings or []]
    whole = tokenizer(texts, pairs, truncation=False, return_attention_mask=False, verbose=False)
    return encoded, [len(all_) > len(kept) for all_, kept in zip(whole["input_ids"], encoded["input_ids"], strict=True)]


def _flat(lines: list[list[int]], dtype: type[np.int32] | type[np.int8]) -> bytes:
    return np.fromiter((token for line in lines for token in line), dtype=dtype).tobytes()


def length_for(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, wanted: int) -> int:
    """Return the most tokens that this model reads: what the spec wants, within the model's and tokenizer's limits."""
    limits = [positions_of(model), tokenizer.model_max_length if tokenizer.model_max_length < SANE_LENGTH else None]
    return min([wanted, *(limit for limit in limits if limit is not None)])


def identity_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what tells tokenizers apart that cut texts differently."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return f"{id(tokenizer)}"
    backend.no_truncation()
    backend.no_padding()
    return f"{backend.to_str()} {tokenizer.pad_token_id} {tokenizer.model_input_names}"
