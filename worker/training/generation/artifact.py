"""What remains of the writing: `texts.jsonl` for people, `kept.parquet` for the student."""

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
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
PLACE = [("prompt_index", pa.int64()), ("sample_index", pa.int32())]
PLAIN = pa.schema([("prompt", pa.string()), ("completion", pa.string()), *PLACE])
CHAT = pa.schema([("messages", pa.list_(TURN)), *PLACE])


@dataclass
class Tally:
    """What was counted while the files were written."""

    samples: int = 0
    kept: int = 0
    tokens: int = 0
    kept_tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, verdict: Verdict) -> None:
        self.samples += 1
        self.tokens += verdict.sample.completion_tokens
        if verdict.reason is None:
            self.kept += 1
            self.kept_tokens += verdict.sample.completion_tokens
        else:
            self.reasons[verdict.reason] += 1


def write_files(
    verdicts: Iterable[Verdict], prompts: Mapping[int, Prompt], folder: Path, each: Callable[[int], None]
) -> Tally:
    """Write both files, each whole or not at all. `each` is called with the number of samples so far and may raise.

    The Parquet has `prompt` and `completion` where prompts are texts, and `messages` with the writer's turn as the last
    where they are conversations: what a data set of the student's task holds.
    """
    tally = Tally()
    is_chat = any(prompt.messages is not None for prompt in prompts.values())
    schema = CHAT if is_chat else PLAIN
    texts, kept = folder / f"{TEXTS}.part", folder / f"{KEPT}.part"
    rows: list[dict[str, Any]] = []
    with texts.open("wb") as lines, pq.ParquetWriter(kept, schema) as table:
        for verdict in verdicts:
            prompt = prompts[verdict.sample.prompt]
            lines.write(json.dumps(line_of(verdict, prompt), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            tally.count(verdict)
            if verdict.kept:
                rows.append(row_of(verdict, prompt, is_chat))
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
        **asked,
        "text": sample.text,
        **({"learned": verdict.text} if verdict.kept and verdict.text != sample.text else {}),
        "prompt_tokens": sample.prompt_tokens,
        "completion_tokens": sample.completion_tokens,
        "finished": sample.finished,
        "verdict": "kept" if verdict.kept else "dropped",
        "reason": verdict.reason,
    }


def row_of(verdict: Verdict, prompt: Prompt, is_chat: bool) -> dict[str, Any]:
    place = {"prompt_index": verdict.sample.prompt, "sample_index": verdict.sample.sample}
    if not is_chat:
        return {"prompt": prompt.text, "completion": verdict.text, **place}
    turns = list(prompt.messages or ({"role": "user", "content": prompt.text or ""},))
    return {"messages": [*turns, {"role": "assistant", "content": verdict.text}], **place}
