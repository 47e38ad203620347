"""The teacher writes, filters choose: from prompts to the texts that the student learns from (Kim and Rush 2016,
arXiv:1606.07947; DeepSeek-R1 2025, arXiv:2501.12948, 2.4)."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DatasetUnusable, NothingKept
from core.methods import SequenceMethod
from worker.training.generation.artifact import KEPT, TEXTS, Tally, write_files
from worker.training.generation.corpus import Corpus
from worker.training.generation.filters import check_filters, in_words, judged
from worker.training.generation.keeping import continued, keep
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.samples import Ask, Prompt
from worker.training.generation.writer import Writer
from worker.training.observer import Observer, Stopped, stop_if_asked

SECONDS_BETWEEN_CHECKPOINTS = 300.0
SAMPLES_BETWEEN_LOOKS = 16


@dataclass(frozen=True)
class Written:
    """What the writing left, for the student's training and for the report."""

    kept: Path
    """Parquet: prompt and completion, or messages."""
    texts: Path
    """JSONL with every sample and its verdict."""
    tally: Tally
    seconds: float
    """Of this attempt."""


def write_and_filter(
    method: SequenceMethod,
    writer: Writer,
    prompts: Sequence[Prompt],
    folder: Path,
    observer: Observer,
    *,
    provenance: str,
    move: Callable[[float], None],
) -> Written:
    """Let the writer answer every prompt and keep what passes the filters; continue where an earlier attempt stopped.

    Args:
        provenance: a digest of what the writer is (model, seed): texts of another one are not continued.
        folder: `<job>/writing`; the corpus, its checkpoints and the two files lie in it.
        move: told which share of the whole is there, often: it is also the sign of life.

    Raises:
        Stopped: the observer asked for it; what was written is kept.
        FiltersUnusable, DatasetUnusable: before anything is written.
        NothingKept: the files are there nevertheless, for the user to read.
    """
    began = time.monotonic()
    check_filters(method.filters)
    _check_answers(method, prompts)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = continued(folder, plan_digest(method, prompts, provenance), observer)
    _write(method, writer, prompts, corpus, folder, observer, move)
    by_index = {prompt.index: prompt for prompt in prompts}
    with Mathematician() as mathematician:
        verdicts = judged(corpus, by_index, method, mathematician)
        tally = write_files(verdicts, by_index, folder, _looking(observer, move))
    _tell(tally, observer)
    if not tally.kept:
        raise NothingKept(tally.samples, in_words(tally.reasons))
    return Written(folder / KEPT, folder / TEXTS, tally, time.monotonic() - began)


def plan_digest(method: SequenceMethod, prompts: Sequence[Prompt], provenance: str) -> str:
    """Return a digest of all that decides which texts are written. Filters are not part of it."""
    digest = hashlib.sha256(json.dumps([provenance, method.generation.model_dump(mode="json")]).encode())
    for prompt in prompts:
        digest.update(json.dumps([prompt.index, prompt.text, prompt.messages]).encode())
    return digest.hexdigest()


def batches(writer: Writer, prompts: Sequence[Prompt], samples: int, size: int) -> Iterator[list[Ask]]:
    """Yield batches of prompts of similar length, the longest first: memory that does not suffice shows at once.

    They depend on the prompts alone, not on what is written already.
    """
    lengths = {prompt.index: writer.prompt_tokens(prompt) for prompt in prompts}
    ordered = sorted(prompts, key=lambda prompt: (-lengths[prompt.index], prompt.index))
    asks = [Ask(prompt, sample) for prompt in ordered for sample in range(samples)]
    for start in range(0, len(asks), size):
        yield asks[start : start + size]


def _write(
    method: SequenceMethod,
    writer: Writer,
    prompts: Sequence[Prompt],
    corpus: Corpus,
    folder: Path,
    observer: Observer,
    move: Callable[[float], None],
) -> None:
    spec = method.generation
    whole = len(prompts) * spec.samples_per_prompt
    if len(corpus):
        observer.event(f"writing: going on from {len(corpus):,} of {whole:,} texts.")
    kept_at = time.monotonic()

    def each_token() -> None:
        stop_if_asked(observer)
        move(len(corpus) / whole)

    try:
        for batch in batches(writer, prompts, spec.samples_per_prompt, spec.batch_size):
            stop_if_asked(observer)
            missing = [ask for ask in batch if ask.key not in corpus]
            if not missing:
                continue
            began = time.monotonic()
            samples = writer.write(missing, each_token)
            corpus.append(samples)
            tokens = sum(sample.completion_tokens for sample in samples)
            speed = tokens / max(time.monotonic() - began, 1e-9)
            observer.metrics(len(corpus), {"writing/tokens_per_second": speed})
            move(len(corpus) / whole)
            if time.monotonic() - kept_at > SECONDS_BETWEEN_CHECKPOINTS:
                keep(corpus, folder, observer, is_final=False)
                kept_at = time.monotonic()
    except Stopped:
        keep(corpus, folder, observer, is_final=False)
        raise
    keep(corpus, folder, observer, is_final=True)


def _looking(observer: Observer, move: Callable[[float], None]) -> Callable[[int], None]:
    def look(samples: int) -> None:
        if samples % SAMPLES_BETWEEN_LOOKS == 0:
            stop_if_asked(observer)
            move(1.0)

    return look


def _check_answers(method: SequenceMethod, prompts: Sequence[Prompt]) -> None:
    if not prompts:
        raise DatasetUnusable("there is no prompt to write for")
    verifier = method.filters.verifier
    if verifier is None or verifier.type == "json_schema":
        return
    if not any(prompt.answer and prompt.answer.strip() for prompt in prompts):
        raise DatasetUnusable(f"no example has a right answer in column '{verifier.column}', which the verifier needs")


def _tell(tally: Tally, observer: Observer) -> None:
    dropped = f"; dropped: {in_words(tally.reasons)}" if tally.reasons else ""
    observer.event(f"writing: {tally.kept:,} of {tally.samples:,} samples are kept{dropped}.")
    observer.metrics(
        tally.samples,
        {
            "writing/samples": tally.samples,
            "writing/kept": tally.kept,
            "writing/tokens": tally.tokens,
            **{f"writing/dropped/{reason}": count for reason, count in tally.reasons.items()},
        },
    )
