"""The teacher writes, filters choose: from prompts to the texts that the student learns from (Kim and Rush 2016,
arXiv:1606.07947; DeepSeek-R1 2025, arXiv:2501.12948, 2.4)."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from core.errors import DatasetUnusable, JobFailed, NothingKept
from core.methods import SequenceMethod
from worker.training.generation.artifact import KEPT, TEXTS, Tally, write_files
from worker.training.generation.corpus import Corpus
from worker.training.generation.filters import check_filters, in_words, judged
from worker.training.generation.keeping import continued, keep
from worker.training.generation.mathematics import Mathematician
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.writer import Writer
from worker.training.observer import Observer, Stopped, stop_if_asked

SHARE_OF_KEEPING = 0.05
"""Checkpoints may take a twentieth of the time: a small corpus is kept after every batch, a large one less often."""
SAMPLES_BETWEEN_LOOKS = 16
SECONDS_BETWEEN_SPEEDS = 1.0


@dataclass
class Pace:
    """What this attempt wrote, and how long the writing alone took."""

    tokens: int = 0
    seconds: float = 0.0
    _since: float = field(default_factory=time.monotonic)
    _untold_tokens: int = 0
    _untold_seconds: float = 0.0

    def go_on(self) -> None:
        """What follows is writing again."""
        self._since = time.monotonic()

    def speed_to_tell(self, samples: Sequence[Sample], seconds_between: float) -> float | None:
        """Count what was written since `go_on`; return tokens per second of late, or None where it is too soon."""
        tokens, seconds = sum(sample.completion_tokens for sample in samples), time.monotonic() - self._since
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self._untold_tokens, self._untold_seconds = self._untold_tokens + tokens, self._untold_seconds + seconds
        if self._untold_seconds < seconds_between:
            return None
        speed = self._untold_tokens / max(self._untold_seconds, 1e-9)
        self._untold_tokens, self._untold_seconds = 0, 0.0
        return speed

    @property
    def tokens_per_second(self) -> float | None:
        """None where earlier attempts had written everything."""
        return self.tokens / max(self.seconds, 1e-9) if self.tokens else None


@dataclass(frozen=True)
class Written:
    """What the writing left, for the student's training and for the report."""

    kept: Path
    """Parquet: prompt and completion, messages, or both."""
    texts: Path
    """JSONL with every sample and its verdict."""
    tally: Tally
    pace: Pace


def write_and_filter(
    method: SequenceMethod,
    writer: Writer,
    prompts: Sequence[Prompt],
    folder: Path,
    observer: Observer,
    *,
    provenance: str,
    move: Callable[[float], None],
    is_chat: bool = False,
) -> Written:
    """Let the writer answer every prompt and keep what passes the filters; continue where an earlier attempt stopped.

    Args:
        provenance: a digest of what the writer is (model, seed): texts of another one are not continued.
        folder: `<job>/writing`; the corpus, its checkpoints and the two files lie in it.
        move: told which share of the whole is there, often: it is also the sign of life.
        is_chat: whether plain prompts were asked as a user's messages, so that a chat is what is to be learned.

    Raises:
        Stopped: the observer asked for it; what was written is kept.
        FiltersUnusable, DatasetUnusable: before anything is written.
    """
    check_filters(method.filters)
    _check_answers(method, prompts)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = continued(folder, plan_digest(method, prompts, provenance), observer)
    pace = _write(method, writer, prompts, corpus, folder, observer, move)
    by_index = {prompt.index: prompt for prompt in prompts}
    with Mathematician() as mathematician:
        verdicts = judged(corpus, by_index, method, mathematician)
        tally = write_files(verdicts, by_index, folder, _looking(observer, move), is_chat=is_chat)
    _tell(tally, observer)
    return Written(folder / KEPT, folder / TEXTS, tally, pace)


def check_kept(tally: Tally) -> None:
    """Check that there are texts to learn from and to measure with.

    Raises:
        NothingKept: nothing to learn from.
        DatasetUnusable: nothing to measure with.
    """
    if not tally.parts["train"]:
        raise NothingKept(tally.samples, in_words(tally.reasons) or "all are of held-out prompts")
    if not tally.parts["test"] + tally.parts["validation"]:
        raise DatasetUnusable(
            f"{tally.kept:,} texts are kept, none of them of a held-out prompt, so that nothing can be measured "
            f"({in_words(tally.reasons)}); hold out more examples, or train on the kept texts, which are a data set now"
        )


def plan_digest(method: SequenceMethod, prompts: Sequence[Prompt], provenance: str) -> str:
    """Return a digest of all that decides which texts are written. Filters are not part of it."""
    digest = hashlib.sha256(json.dumps([provenance, method.generation.model_dump(mode="json")]).encode())
    for prompt in prompts:
        digest.update(json.dumps([prompt.index, prompt.text, prompt.messages, prompt.teacher]).encode())
    return digest.hexdigest()


def batches(writer: Writer, prompts: Sequence[Prompt], samples: int, size: int) -> Iterator[list[Ask]]:
    """Yield batches of prompts of similar length, the longest first: memory that does not suffice shows at once.

    They depend on the prompts alone, not on what is written already. A batch is for one teacher.
    """
    lengths = {prompt.index: writer.prompt_tokens(prompt) for prompt in prompts}
    ordered = sorted(prompts, key=lambda prompt: (prompt.teacher or "", -lengths[prompt.index], prompt.index))
    for _, group in groupby(ordered, key=lambda prompt: prompt.teacher):
        asks = [Ask(prompt, sample) for prompt in group for sample in range(samples)]
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
) -> Pace:
    spec, pace, keeper = method.generation, Pace(), Keeper(corpus, folder, observer)
    whole = len(prompts) * spec.samples_per_prompt
    size, seconds_between = (spec.batch_size, 0.0) if writer.is_batched else (whole, SECONDS_BETWEEN_SPEEDS)
    if len(corpus):
        observer.event(f"writing: going on from {len(corpus):,} of {whole:,} texts.")

    def each_token() -> None:
        stop_if_asked(observer)
        move(len(corpus) / whole)

    try:
        for batch in batches(writer, prompts, spec.samples_per_prompt, size):
            stop_if_asked(observer)
            missing = [ask for ask in batch if ask.key not in corpus]
            if not missing:
                continue
            pace.go_on()
            with closing(writer.pieces(missing, each_token)) as pieces:
                for samples in pieces:
                    corpus.append(samples)
                    if (speed := pace.speed_to_tell(samples, seconds_between)) is not None:
                        observer.metrics(len(corpus), {"writing/tokens_per_second": speed})
                    move(len(corpus) / whole)
                    keeper.keep_in_time()
                    pace.go_on()
    except (Stopped, JobFailed):
        keep(corpus, folder, observer, is_final=False)
        raise
    keep(corpus, folder, observer, is_final=True)
    return pace


class Keeper:
    """Keeps a checkpoint of a corpus whenever the last one's cost is a small share of the time since."""

    def __init__(self, corpus: Corpus, folder: Path, observer: Observer) -> None:
        self.corpus, self.folder, self.observer = corpus, folder, observer
        self.kept_at, self.cost_seconds = time.monotonic(), 0.0

    def keep_in_time(self) -> None:
        began = time.monotonic()
        if began - self.kept_at < self.cost_seconds / SHARE_OF_KEEPING:
            return
        keep(self.corpus, self.folder, self.observer, is_final=False)
        self.kept_at = time.monotonic()
        self.cost_seconds = self.kept_at - began


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
