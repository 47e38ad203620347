"""The student's own texts: which examples of a step it writes anew, and what it writes.

Legend: B sequences, T positions, N kept tokens of a batch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.methods import OnPolicyMethod
from worker.training.generation.writer import Completion, ModelWriter
from worker.training.language.asking import AskingReadings
from worker.training.language.scripts import Mask, Scripts
from worker.training.language.twin import Twin
from worker.training.lessons import IGNORED
from worker.training.models import plain_of
from worker.training.pupil import Pupil
from worker.training.split import Rows

Line = tuple[NDArray[np.int64], Mask]
"""The tokens of one example, and which of them are targets."""
CHOICE = 1
"""Sets the draw of who writes apart from the draws of what is written."""


@dataclass
class Meter:
    """What was written since it was last read."""

    texts: int = 0
    tokens: int = 0
    finished: int = 0
    seconds: float = 0.0

    def count(self, written: Sequence[Completion], seconds: float) -> None:
        self.texts += len(written)
        self.tokens += sum(one.tokens for one in written)
        self.finished += sum(one.finished for one in written)
        self.seconds += seconds

    def read(self) -> dict[str, float]:
        """Return means as metrics, empty where nothing was written, and start anew."""
        texts, tokens, finished, seconds = self.texts, self.tokens, self.finished, self.seconds
        self.texts, self.tokens, self.finished, self.seconds = 0, 0, 0, 0.0
        if not texts:
            return {}
        return {
            "on_policy/tokens_per_second": tokens / max(seconds, 1e-9),
            "on_policy/tokens_per_text": tokens / texts,
            "on_policy/finished": finished / texts,
        }


@dataclass(frozen=True)
class Author:
    """Writes with the student as it is. What is written after example i at step s is drawn from (seed, s, i) alone."""

    method: OnPolicyMethod
    seed: int
    tokenizer: PreTrainedTokenizerBase
    twin: Twin
    each_token: Callable[[], None]
    """Called at each token of a batch; may raise to stop."""
    meter: Meter = field(default_factory=Meter)

    def is_own(self, row: int, step: int) -> bool:
        """Tell whether the student's own text takes the place of the data set's, this time."""
        return bool(np.random.default_rng([self.seed, step, row, CHOICE]).random() < self.method.student_share)

    def write(self, model: PreTrainedModel, prompts: Scripts, rows: Sequence[int], step: int) -> dict[int, list[int]]:
        """Return the tokens that the model writes after each prompt, its last one included.

        The batches are those of the whole optimizer step, similar lengths together, whatever its micro-batches are.
        """
        spec = self.method.generation
        if not rows:
            return {}
        writer = ModelWriter(self.twin.of(model), self.tokenizer, spec, self.seed)
        ordered = sorted(rows, key=lambda row: (-int(prompts.lengths[row]), row))
        found: dict[int, list[int]] = {}
        for start in range(0, len(ordered), spec.batch_size):
            some = ordered[start : start + spec.batch_size]
            began = time.monotonic()
            written = writer.complete(
                [tokens_of(prompts, row).tolist() for row in some], [(step, row) for row in some], self.each_token
            )
            self.meter.count(written, time.monotonic() - began)
            found |= {row: one.token_ids for row, one in zip(some, written, strict=True)}
        return found


@dataclass(frozen=True)
class FreshLessons(Dataset[list[int]]):
    """Learned from: the data set's completions, and in the place of some of them what the student writes.

    An item is examples' numbers, and so is a batch until `fill` is called with the student of that step.
    """

    readings: AskingReadings
    author: Author

    def __len__(self) -> int:
        return len(self.readings.learned)

    def __getitem__(self, places: Rows) -> list[int]:
        return [int(row) for row in self.readings.learned[places]]

    @property
    def lengths(self) -> Rows:
        return self.readings.lengths[self.readings.learned]

    def collate(self, rows: Sequence[int]) -> dict[str, Any]:
        return {"rows": torch.tensor(rows)}

    def fill(self, pupil: Pupil, batches: Sequence[Mapping[str, Any]], step: int) -> list[Any]:
        """Return the micro-batches of one step, as `WritingLessons.collate` makes them for a live teacher.

        Targets that the student wrote are IGNORED: there is no label to compare them with.
        """
        rows = [batch["rows"].tolist() for batch in batches]
        asked = [row for some in rows for row in some if self._is_own(row, step)]
        written = self.author.write(plain_of(pupil.model), self.readings.student_prompts, asked, step)
        return [self._batch(some, written) for some in rows]

    def _is_own(self, row: int, step: int) -> bool:
        readings = self.readings
        if not readings.is_asked[row]:
            return False
        return not readings.has_completion[row] or self.author.is_own(row, step)

    def _batch(self, rows: Sequence[int], written: Mapping[int, list[int]]) -> dict[str, Any]:
        readings = self.readings
        own = script_of(lines(rows, written, readings.student, readings.student_prompts), readings.student.pad_id)
        teachers = [
            own
            if scripts is readings.student and prompts is readings.student_prompts
            else script_of(lines(rows, written, scripts, prompts), scripts.pad_id)
            for scripts, prompts in zip(readings.teachers, readings.teacher_prompts, strict=True)
        ]
        counts = own["predicts"].sum(dim=1)
        is_own_N = torch.tensor([row in written for row in rows]).repeat_interleave(counts)
        return {**own, "targets": own["targets"].masked_fill(is_own_N, IGNORED), "teachers": teachers}


def tokens_of(scripts: Scripts, row: int) -> NDArray[np.int64]:
    """Return all tokens of one example."""
    return np.array(scripts.ids[scripts.starts[row] : scripts.starts[row + 1]], dtype=np.int64)


def lines(rows: Sequence[int], written: Mapping[int, list[int]], scripts: Scripts, prompts: Scripts) -> list[Line]:
    """Return each example with the completion that was written after its prompt, or with the data set's."""
    found: list[Line] = []
    for row in rows:
        if row in written:
            prompt, completion = tokens_of(prompts, row), np.array(written[row], dtype=np.int64)
            ids = np.concatenate([prompt, completion])
            found.append((ids, np.arange(len(ids)) >= len(prompt)))
        else:
            found.append((tokens_of(scripts, row), scripts.is_target[scripts.starts[row] : scripts.starts[row + 1]]))
    return found


def script_of(examples: Sequence[Line], pad_id: int) -> dict[str, Any]:
    """Return `texts`, `predicts` [B, T] and `targets` [N], as Scripts.script does for examples on disk."""
    shape = (len(examples), max(len(ids) for ids, _ in examples))
    ids_BT, real_BT = torch.full(shape, pad_id), torch.zeros(shape, dtype=torch.int64)
    target_BT = torch.zeros(shape, dtype=torch.bool)
    for line, (ids, is_target) in enumerate(examples):
        ids_BT[line, : len(ids)] = torch.from_numpy(ids)
        real_BT[line, : len(ids)] = 1
        target_BT[line, : len(ids)] = torch.from_numpy(np.array(is_target))
    predicts_BT = torch.zeros_like(target_BT)
    predicts_BT[:, :-1] = target_BT[:, 1:]
    texts = {"input_ids": ids_BT, "attention_mask": real_BT}
    return {"texts": texts, "predicts": predicts_BT, "targets": ids_BT[target_BT]}
