"""The teachers' signal kept on disk, so that they read each text once for all epochs.

Legend: N kept tokens of a batch, n of them in one chunk, b of those in one block, M kept tokens of all examples, D
hidden width, K largest probabilities, V vocabulary, C classes: the K and, where there are more words, all others as
one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from worker.training.batches import in_batches
from worker.training.device import autocast, device
from worker.training.language.chunked import Divergence, rows_at_once, rows_of_block, slices
from worker.training.language.models import HeadAlone, head_of
from worker.training.language.scripts import Scripts, on_device
from worker.training.language.signal import Voices, coarse_divergence, coarsened, full_divergence
from worker.training.language.states import reads_in_one_row
from worker.training.objectives.registry import Objective
from worker.training.split import Rows
from worker.training.teacher_cache import HEADER_BYTES, TeacherCache

READING_BATCH = 32
Pulse = Callable[[int], None]
"""Called after each batch with the number of its texts."""


@dataclass(frozen=True)
class Shelf:
    """Where the kept tokens of some examples stand, end to end in the order of the examples."""

    starts: NDArray[np.int64]
    """Per example of the data set; negative where it is not on the shelf."""
    counts: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        return int(self.counts[self.starts >= 0].sum())

    def places(self, rows: Rows | Sequence[int]) -> NDArray[np.int64]:
        """Return where the kept tokens [N] of these examples stand, row by row."""
        spans = [np.arange(self.starts[row], self.starts[row] + self.counts[row]) for row in rows]
        return np.concatenate(spans)


def shelf_of(scripts: Scripts, rows: Rows) -> Shelf:
    counts = scripts.kept(np.arange(len(scripts.starts) - 1))
    starts = np.full(len(counts), -1, dtype=np.int64)
    starts[rows] = np.cumsum(counts[rows]) - counts[rows]
    return Shelf(starts, counts)


@dataclass(frozen=True)
class Shared:
    """Where jobs share what teachers said, and under which key each teacher's states lie; None where it has none."""

    cache: TeacherCache
    keys: Sequence[str | None]


@dataclass(frozen=True)
class States:
    """Every teacher's last hidden states: all that its head needs, far smaller than logits, and exact.

    They are kept in the precision in which the heads read them.
    """

    voices: Voices
    shelf: Shelf
    kept: Sequence[NDArray[Any]]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process needs the heads alone: the teachers have read everything."""
        heads = [HeadAlone(head_of(model)) for model in self.voices.models]
        return States, (replace(self.voices, models=heads), self.shelf, self.kept)

    def of(self, rows: Rows | Sequence[int]) -> dict[str, Any]:
        places = self.shelf.places(rows)
        return {"teacher_states": [_tensor(array[places], self.voices) for array in self.kept]}

    def hidden(self, batch: Mapping[str, Any]) -> list[Tensor]:
        return [states_ND.to(device()) for states_ND in batch["teacher_states"]]

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float) -> Divergence:
        return full_divergence(self.voices, self.hidden(batch), objective, temperature)


@dataclass(frozen=True)
class Likeliest:
    """The mixture's K largest log-probabilities at the training's temperature, and that of all other words together."""

    shelf: Shelf
    vocabulary: int
    ids: NDArray[np.int32]
    """[M, K]."""
    log_p: NDArray[np.float32]
    """[M, C]."""

    def of(self, rows: Rows | Sequence[int]) -> dict[str, Any]:
        places = self.shelf.places(rows)
        return {"top_ids": torch.from_numpy(self.ids[places]), "top_log_p": torch.from_numpy(self.log_p[places])}

    def divergence(self, batch: Mapping[str, Any], objective: Objective, temperature: float) -> Divergence:
        return coarse_divergence(batch["top_ids"], batch["top_log_p"], self.vocabulary, objective, temperature)


def states_bytes(voices: Voices, tokens: int) -> int:
    """Return exactly how many bytes `keep_states` writes for so many kept tokens."""
    widths = [int(_width(model)) for model in voices.models]
    return tokens * sum(widths) * _kind(voices).itemsize + HEADER_BYTES * len(widths)


def likeliest_bytes(voices: Voices, top_k: int, tokens: int) -> int:
    """Return exactly how many bytes `keep_likeliest` writes for so many kept tokens."""
    words, classes = _words_and_classes(voices, top_k)
    return tokens * (words * np.dtype(np.int32).itemsize + classes * np.dtype(np.float32).itemsize)


def keep_states(
    voices: Voices,
    scripts: Sequence[Scripts],
    rows: Rows,
    folder: Path,
    pulse: Pulse,
    shared: Shared | None = None,
) -> States:
    """Let the teachers read some examples, and keep their last hidden states: under `folder`, or where jobs share.

    What an earlier job left there is taken as it is, and nothing is read.
    """
    shelf, shared = shelf_of(scripts[0], rows), shared or Shared(TeacherCache(), [None] * len(voices.models))
    found = [shared.cache.find(key) for key in shared.keys]
    there = [array for array in found if array is not None]
    if len(there) == len(found):
        pulse(len(rows))
        return States(voices, shelf, there)
    kept = [
        shared.cache.writable(key, _kind(voices), (shelf.tokens, _width(model)), folder / f"states-{number}.npy")
        for number, (key, model) in enumerate(zip(shared.keys, voices.models, strict=True))
    ]

    def note(hidden: Sequence[Tensor], places: NDArray[np.int64]) -> None:
        for array, states_ND in zip(kept, hidden, strict=True):
            array[places] = _array(states_ND, voices)

    read_all(voices, scripts, rows, shelf, note, pulse)
    return States(voices, shelf, [shared.cache.seal(key, array) for key, array in zip(shared.keys, kept, strict=True)])


def keep_likeliest(
    voices: Voices,
    scripts: Sequence[Scripts],
    rows: Rows,
    folder: Path,
    pulse: Pulse,
    *,
    top_k: int,
    temperature: float,
) -> Likeliest:
    """Let the teachers read some examples, and keep the largest probabilities at `temperature` under `folder`."""
    shelf, (words, classes) = shelf_of(scripts[0], rows), _words_and_classes(voices, top_k)
    ids_MK = _file(folder / "top-ids.bin", np.dtype(np.int32), (shelf.tokens, words))
    log_p_MC = _file(folder / "top-log-p.bin", np.dtype(np.float32), (shelf.tokens, classes))
    chunk_rows, block_rows = rows_at_once(voices.vocabulary), rows_of_block(voices.vocabulary)

    def note(hidden: Sequence[Tensor], places: NDArray[np.int64]) -> None:
        for chunk in slices(len(places), chunk_rows):
            spoken, places_n = voices.spoken(hidden, chunk, temperature), places[chunk]
            for block in slices(len(places_n), block_rows):
                log_p_bV = log_softmax(spoken.mixed(block) / temperature, dim=-1)
                ids_bK = log_p_bV.topk(words, dim=-1).indices
                ids_MK[places_n[block]] = ids_bK.to(torch.int32).cpu().numpy()
                log_p_MC[places_n[block]] = coarsened(log_p_bV, ids_bK).cpu().numpy()

    read_all(voices, scripts, rows, shelf, note, pulse)
    return Likeliest(shelf, voices.vocabulary, _sealed(ids_MK), _sealed(log_p_MC))


def _words_and_classes(voices: Voices, top_k: int) -> tuple[int, int]:
    words = min(top_k, voices.vocabulary)
    return words, words + (words < voices.vocabulary)


def read_all(
    voices: Voices,
    scripts: Sequence[Scripts],
    rows: Rows,
    shelf: Shelf,
    note: Callable[[Sequence[Tensor], NDArray[np.int64]], None],
    pulse: Pulse,
) -> None:
    """Read examples in batches, the longest first; a batch that does not fit is halved."""

    def read(places: NDArray[np.int64]) -> None:
        some = rows[places]
        note(voices.hidden([on_device(one.script(some)) for one in scripts]), shelf.places(some))
        pulse(len(some))

    with autocast(voices.precision):
        in_one_row = all(reads_in_one_row(model) for model in voices.models)
    in_batches(scripts[0].lengths[rows], READING_BATCH, read, is_padded=not in_one_row)


def _width(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[1])


def _kind(voices: Voices) -> np.dtype[Any]:
    """NumPy has no bfloat16: its bytes are kept as whole numbers."""
    return np.dtype(np.int16 if voices.precision == "bf16" else np.float32)


def _array(states_ND: Tensor, voices: Voices) -> NDArray[Any]:
    if voices.precision == "bf16":
        return states_ND.to(torch.bfloat16).cpu().view(torch.int16).numpy()
    return states_ND.float().cpu().numpy()


def _tensor(array: NDArray[Any], voices: Voices) -> Tensor:
    found = torch.from_numpy(array)
    return found.view(torch.bfloat16) if voices.precision == "bf16" else found


def _file(path: Path, kind: np.dtype[Any], shape: tuple[int, int]) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.memmap(path, dtype=kind, mode="w+", shape=shape)


def _sealed(array: Any) -> Any:
    array.flush()
    return np.memmap(array.filename, dtype=array.dtype, mode="r", shape=array.shape)
