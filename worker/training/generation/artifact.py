"""What remains of the writing: `texts.jsonl` for people, `kept.parquet` for this student and for the next."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worker.training.generation.filters import Verdict
from worker.training.generation.samples import Prompt

TEXTS, KEPT = "texts.jsonl", "kept.parquet"
ROWS_AT_ONCE = 1000
PLACE = [("split", pa.string()), ("prompt_index", pa.int64()), ("sample_index", pa.int64())]
PLAIN = [("prompt", pa.string()), ("completion", pa.string())]
CHAT = [("messages", pa.string())]
"""Conversations are JSON, as in every data set here."""


@dataclass
class Tally:
    """What was counted while the files were written."""

    samples: int = 0
    kept: int = 0
    tokens: int = 0
    kept_tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    """How many are kept of each part of the data set."""
    teachers: Counter[str] = field(default_factory=Counter)
    """How many are kept of each teacher, where several wrote."""

    def count(self, verdict: Verdict, prompt: Prompt) -> None:
        self.samples += 1
        self.tokens += verdict.sample.completion_tokens
        if verdict.reason is None:
            self.kept += 1
            self.kept_tokens += verdict.sample.completion_tokens
            self.parts[prompt.part] += 1
            self.teachers.update([prompt.teacher] if prompt.teacher is not None else [])
        else:
            self.reasons[verdict.reason] += 1


def write_files(
    verdicts: Iterable[Verdict],
    prompts: Mapping[int, Prompt],
    folder: Path,
    each: Callable[[int], None],
    *,
    is_chat: bool,
) -> Tally:
    """Write both files, each whole or not at all. `each` is called with the number of samples so far and may raise.

    The Parquet is a data set of the student's task, `split` included: `prompt` and `completion` where prompts are
    texts, and beside them `messages`, with the writer's turn as the last, where they were asked as a user's messages
    (`is_chat`); `messages` alone where prompts are conversations.
    """
    tally = Tally()
    has_texts = any(prompt.text is not None for prompt in prompts.values())
    has_chats = is_chat or any(prompt.messages is not None for prompt in prompts.values())
    schema = pa.schema([*(PLAIN if has_texts else []), *(CHAT if has_chats else []), *PLACE])
    texts, kept = folder / f"{TEXTS}.part", folder / f"{KEPT}.part"
    rows: list[dict[str, Any]] = []
    with texts.open("wb") as lines, pq.ParquetWriter(kept, schema, compression="zstd") as table:
        for verdict in verdicts:
            prompt = prompts[verdict.sample.prompt]
            lines.write(json.dumps(line_of(verdict, prompt), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            tally.count(verdict, prompt)
            if verdict.kept:
                rows.append(row_of(verdict, prompt))
            if len(rows) == ROWS_AT_ONCE:
                table.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
            each(tally.samples)
        table.write_table(pa.Table.from_pylist(rows, schema))
    texts.rename(folder / TEXTS)
    kept.rename(folder / KEPT)
    return tally


def line_of(verdict: Verdict, prompt: Prompt) -> dict[str, Any]:
    """Return what people read of a sample. `text` is what was written; `learned` is there where it was shortened."""
    sample = verdict.sample
    asked = {"prompt": prompt.text} if prompt.text is not None else {"messages": list(prompt.messages or ())}
    return {
        "prompt_index": sample.prompt,
        "sample_index": sample.sample,
        "split": prompt.part,
        **({"teacher": prompt.teacher} if prompt.teacher is not None else {}),
        **asked,
        "text": sample.text,
        **({"learned": verdict.text} if verdict.kept and verdict.text != sample.text else {}),
        "prompt_tokens": sample.prompt_tokens,
        "completion_tokens": sample.completion_tokens,
        "finished": sample.finished,
        "verdict": "kept" if verdict.kept else "dropped",
        "reason": verdict.reason,
        **({"detail": sample.detail} if sample.detail is not None else {}),
    }


def row_of(verdict: Verdict, prompt: Prompt) -> dict[str, Any]:
    """Return a row of the data set, in every form; the schema takes those that it has."""
    turns = list(prompt.messages or ({"role": "user", "content": prompt.text or ""},))
    return {
        "prompt": prompt.text,
        "completion": verdict.text,
        "messages": json.dumps([*turns, {"role": "assistant", "content": verdict.text}], ensure_ascii=False),
        "split": prompt.part,
        "prompt_index": verdict.sample.prompt,
        "sample_index": verdict.sample.sample,
    }
