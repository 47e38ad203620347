"""The whole writing: killed anywhere and continued, it leaves the same bytes."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.errors import DatasetUnusable, NothingKept
from core.methods import SequenceMethod
from core.report import Sizes
from core.wire import Level, Progress, Stage
from worker.training.checkpoints import newest
from worker.training.generation import sequence
from worker.training.generation.artifact import Tally
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.sequence import Written, batches, check_kept, write_and_filter
from worker.training.generation.writer import ModelWriter
from worker.training.observer import Stopped, StopReason

METHOD = SequenceMethod.model_validate(
    {
        "generation": {"temperature": 1.0, "max_new_tokens": 8, "samples_per_prompt": 2, "batch_size": 4},
        "filters": {"finished_only": False, "deduplicate": "near"},
    }
)
PROMPTS = [Prompt(index, "the sum of " + "two and " * (index % 4) + str(index)) for index in range(9)]


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing catches it."""


@dataclass
class Diary:
    """An observer that kills or stops the job at its nth call, and counts them."""

    kill_at: int | None = None
    stop_at: int | None = None
    calls: int = 0
    events: list[tuple[Level, str]] = field(default_factory=list)
    series: dict[str, float] = field(default_factory=dict)
    checkpoints: list[tuple[int, Path]] = field(default_factory=list)

    def _called(self) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed

    def stage(self, stage: Stage) -> None:
        self._called()

    def progress(self, progress: Progress) -> None:
        self._called()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.series |= values
        self._called()

    def event(self, message: str, level: Level = "info") -> None:
        self.events.append((level, message))
        self._called()

    def sizes(self, sizes: Sizes) -> None:
        self._called()

    def checkpoint(self, phase: str, step: int, folder: Path, metrics: Mapping[str, float]) -> None:
        assert phase == "writing"
        self.checkpoints.append((step, folder))
        self._called()

    def texts(self, texts: Path, kept: Path) -> None:
        self._called()

    def stop_reason(self) -> StopReason | None:
        self._called()
        return "shutdown" if self.stop_at is not None and self.calls >= self.stop_at else None


@dataclass
class Counting:
    """Writes with another writer, and remembers what it was asked for."""

    writer: ModelWriter
    asked: list[tuple[int, int]] = field(default_factory=list)
    is_batched = True

    def prompt_tokens(self, prompt: Prompt) -> int:
        return self.writer.prompt_tokens(prompt)

    def write(self, asks: list[Ask], each_token: Any) -> list[Sample]:
        samples = self.writer.write(asks, each_token)
        self.asked += [ask.key for ask in asks]
        return samples

    def pieces(self, asks: list[Ask], each_token: Any) -> Any:
        yield self.write(asks, each_token)


@pytest.fixture(scope="module")
def teacher(model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast) -> ModelWriter:
    return ModelWriter(model, plain_tokenizer, METHOD.generation, seed=1)


def run(
    writer: Any,
    folder: Path,
    diary: Diary | None = None,
    method: SequenceMethod = METHOD,
    prompts: Any = PROMPTS,
    **more: Any,
) -> Written:
    diary = diary or Diary()
    shares: list[float] = []
    written = write_and_filter(method, writer, prompts, folder, diary, provenance="teacher", move=shares.append, **more)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return written


def files_of(written: Written) -> tuple[bytes, bytes, bytes]:
    corpus = written.texts.parent / "corpus" / "samples-00000.jsonl"
    return written.texts.read_bytes(), written.kept.read_bytes(), corpus.read_bytes()


@pytest.fixture(scope="module")
def whole(teacher: ModelWriter, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes]:
    """What an uninterrupted run leaves."""
    return files_of(run(teacher, tmp_path_factory.mktemp("whole")))


def test_what_is_left_is_every_sample_with_its_verdict_and_the_kept_ones(teacher: ModelWriter, tmp_path: Path) -> None:
    diary = Diary()
    written = run(teacher, tmp_path, diary)
    lines = [json.loads(line) for line in written.texts.read_text(encoding="utf-8").splitlines()]
    kept = pq.read_table(written.kept).to_pylist()
    assert [(line["prompt_index"], line["sample_index"]) for line in lines] == [
        (p, s) for p in range(9) for s in (0, 1)
    ]
    assert [line["prompt"] for line in lines[::2]] == [prompt.text for prompt in PROMPTS]
    assert [(row["prompt"], row["completion"]) for row in kept] == [
        (line["prompt"], line["text"]) for line in lines if line["verdict"] == "kept"
    ]
    assert written.tally.samples == 18 == written.tally.kept + written.tally.reasons.total()
    assert written.tally.tokens == sum(line["completion_tokens"] for line in lines)
    assert diary.series["writing/kept"] == len(kept)
    assert any("samples are kept" in message for _, message in diary.events)


def test_killed_at_random_places_it_continues_and_leaves_the_same_bytes(
    teacher: ModelWriter, whole: tuple[bytes, bytes, bytes], tmp_path: Path
) -> None:
    draw = random.Random(4)
    counting, kills = Counting(teacher), 0
    while True:
        diary = Diary(kill_at=draw.randint(8, 30))
        try:
            written = run(counting, tmp_path, diary)
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert files_of(written) == whole
    assert len(counting.asked) == 18 == len(set(counting.asked)), "no sample was written twice"


def test_stopped_it_keeps_a_checkpoint_from_which_another_machine_continues(
    teacher: ModelWriter, whole: tuple[bytes, bytes, bytes], tmp_path: Path
) -> None:
    diary = Diary(stop_at=25)
    with pytest.raises(Stopped):
        run(teacher, tmp_path / "first", diary)
    step, folder = diary.checkpoints[-1]
    assert 0 < step < 18
    shutil.copytree(folder, tmp_path / "second" / f"checkpoint-{step}")
    counting, second = Counting(teacher), Diary()
    assert files_of(run(counting, tmp_path / "second", second)) == whole
    assert len(counting.asked) == 18 - step
    assert ("info", f"writing: going on from {step} of 18 texts.") in second.events


def test_a_damaged_checkpoint_is_left_out_with_an_event(
    teacher: ModelWriter, whole: tuple[bytes, bytes, bytes], tmp_path: Path
) -> None:
    run(teacher, tmp_path)
    shutil.rmtree(tmp_path / "corpus")
    checkpoint, _ = newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.is_final
    shard = checkpoint.folder / "samples-00000.jsonl"
    shard.write_bytes(shard.read_bytes()[:-5])
    diary = Diary()
    assert files_of(run(teacher, tmp_path, diary)) == whole
    assert diary.events[0] == ("warning", "writing: checkpoint-18 is damaged and was left out.")


def test_checkpoints_are_kept_while_writing_and_only_the_newest_two_stay(
    teacher: ModelWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "SHARE_OF_KEEPING", 1e9)
    diary = Diary()
    run(teacher, tmp_path, diary)
    assert [step for step, _ in diary.checkpoints] == [4, 8, 12, 16, 18, 18]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-16", "checkpoint-18"]


def test_keeping_takes_a_small_share_of_the_time(
    teacher: ModelWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "SHARE_OF_KEEPING", 1e-9)
    diary = Diary()
    run(teacher, tmp_path, diary)
    assert [step for step, _ in diary.checkpoints] == [4, 18]


def test_other_filters_write_nothing_again(teacher: ModelWriter, tmp_path: Path) -> None:
    run(teacher, tmp_path)
    counting = Counting(teacher)
    other = METHOD.model_copy(update={"filters": METHOD.filters.model_copy(update={"max_tokens": 1})})
    assert run(counting, tmp_path, method=other).tally.reasons["too_long"] > 0
    assert counting.asked == []


def test_other_prompts_are_another_plan(teacher: ModelWriter, tmp_path: Path) -> None:
    run(teacher, tmp_path, prompts=PROMPTS[:2])
    counting = Counting(teacher)
    run(counting, tmp_path, prompts=PROMPTS[1:3])
    assert sorted(set(counting.asked)) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_nothing_kept_says_why_and_leaves_the_texts(teacher: ModelWriter, tmp_path: Path) -> None:
    method = METHOD.model_copy(update={"filters": METHOD.filters.model_copy(update={"min_tokens": 100})})
    written = run(teacher, tmp_path, method=method)
    with pytest.raises(NothingKept, match="of 18 samples none is left to learn from: 18 shorter than min_tokens"):
        check_kept(written.tally)
    assert len(written.texts.read_text(encoding="utf-8").splitlines()) == 18


def test_without_a_text_to_measure_with_the_kept_ones_are_named() -> None:
    with pytest.raises(DatasetUnusable, match="3 texts are kept, none of them of a held-out prompt"):
        check_kept(Tally(samples=5, kept=3, parts=Counter(train=3), reasons=Counter(empty=2)))
    check_kept(Tally(samples=5, kept=5, parts=Counter(train=3, validation=2)))


def test_a_verifier_without_answers_is_refused_before_anything_is_written(teacher: ModelWriter, tmp_path: Path) -> None:
    method = SequenceMethod.model_validate({"filters": {"verifier": {"type": "numeric", "column": "solution"}}})
    counting = Counting(teacher)
    with pytest.raises(DatasetUnusable, match="'solution'"):
        run(counting, tmp_path, method=method)
    assert counting.asked == []


def test_conversations_become_conversations(
    model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    writer = ModelWriter(model, chat_tokenizer, METHOD.generation, seed=1)
    asked = ({"role": "system", "content": "brief"}, {"role": "user", "content": "two?"})
    written = run(writer, tmp_path, prompts=[Prompt(0, messages=asked), Prompt(1, messages=asked[1:])])
    rows = pq.read_table(written.kept).to_pylist()
    assert rows
    for row in rows:
        assert set(row) == {"messages", "split", "prompt_index", "sample_index"}
        *given, answer = json.loads(row["messages"])
        assert given == list(asked[row["prompt_index"] :])
        assert answer["role"] == "assistant"


def test_prompts_that_were_asked_as_messages_become_both(teacher: ModelWriter, tmp_path: Path) -> None:
    prompts = [Prompt(index, "two", part=part) for index, part in enumerate(("train", "test"))]
    written = run(teacher, tmp_path, prompts=prompts, is_chat=True)
    rows = pq.read_table(written.kept).to_pylist()
    assert Counter(row["split"] for row in rows) == written.tally.parts == Counter(train=2, test=2)
    for row in rows:
        turns = [("user", "two"), ("assistant", row["completion"])]
        assert [(turn["role"], turn["content"]) for turn in json.loads(row["messages"])] == turns


def test_batches_hold_prompts_of_similar_length_the_longest_first(teacher: ModelWriter) -> None:
    lengths = [[teacher.prompt_tokens(ask.prompt) for ask in batch] for batch in batches(teacher, PROMPTS, 2, 4)]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)
    assert [len(batch) for batch in lengths] == [4, 4, 4, 4, 2]


def test_each_teachers_prompts_are_batched_apart(teacher: ModelWriter, tmp_path: Path) -> None:
    prompts = [replace(prompt, teacher="ab"[prompt.index % 2]) for prompt in PROMPTS]
    found = [[ask.prompt.teacher for ask in batch] for batch in batches(teacher, prompts, 2, 4)]
    assert [len(batch) for batch in found] == [4, 4, 2, 4, 4]
    assert all(len(set(batch)) == 1 for batch in found)
    written = run(teacher, tmp_path, prompts=prompts)
    assert written.tally.teachers.total() == written.tally.kept
    lines = [json.loads(line) for line in written.texts.read_text(encoding="utf-8").splitlines()]
    assert [line["teacher"] for line in lines] == ["ab"[line["prompt_index"] % 2] for line in lines]


def test_the_pace_is_that_of_this_attempt(teacher: ModelWriter, tmp_path: Path) -> None:
    first, second = run(teacher, tmp_path), run(teacher, tmp_path)
    assert first.pace.tokens == first.tally.tokens
    assert first.pace.tokens_per_second == pytest.approx(first.pace.tokens / first.pace.seconds)
    assert second.tally == first.tally
    assert second.pace.tokens_per_second is None
