"""What a server has answered is never asked for again: not after a stop, a failure, or on another machine."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.endpoints import TeacherFailing, TeacherRefused
from core.methods import SequenceMethod
from tests.misbehaving import Fault, Misbehaving, misbehaving, refusing
from tests.worker.training.endpoint.conftest import writer_of
from tests.worker.training.generation.test_sequence import Diary
from worker.training.endpoint.purse import LEDGER
from worker.training.generation.samples import Prompt
from worker.training.generation.sequence import Written, write_and_filter
from worker.training.observer import Stopped, StopReason

METHOD = SequenceMethod.model_validate({"generation": {"max_new_tokens": 20}, "filters": {"deduplicate": None}})
PROMPTS = [Prompt(index, f"question {index}", part="test" if index % 5 == 0 else "train") for index in range(30)]


class StoppedBy(Diary):
    """One that stops a job once something is so."""

    def __init__(self, is_so: Callable[[], bool]) -> None:
        super().__init__()
        self.is_so = is_so

    def stop_reason(self) -> StopReason | None:
        return "shutdown" if self.is_so() else None


def run(server: Misbehaving, folder: Path, diary: Diary | None = None, **endpoint: Any) -> Written:
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    diary = diary or Diary()
    writer = writer_of(server, folder / "corpus", texts=len(PROMPTS), ear=diary, concurrency=2, **endpoint)
    return write_and_filter(METHOD, writer, PROMPTS, folder, diary, provenance="server", move=lambda share: None)


def lines_of(written: Written) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.texts.read_text().splitlines()]


def test_a_stopped_writing_goes_on_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    with misbehaving() as server:
        diary = StoppedBy(lambda: len(server.prompts) >= 15)
        with pytest.raises(Stopped):
            run(server, tmp_path, diary)
        assert 0 < len(server.prompts) < len(PROMPTS)
        # Another machine has the newest checkpoint alone.
        _, checkpoint = diary.checkpoints[-1]
        other = tmp_path / "other"
        shutil.copytree(checkpoint, other / checkpoint.name)
        written = run(server, other)
    asked = Counter(server.prompts)
    on_their_way = 2
    assert sum(count - 1 for count in asked.values()) <= on_their_way
    assert len(asked) == len(PROMPTS)
    assert written.tally.kept == len(PROMPTS)
    assert json.loads((other / "corpus" / LEDGER).read_bytes())["requests"] == len(server.calls)


def test_a_retry_asks_again_for_what_failed_alone(tmp_path: Path) -> None:
    broken = True

    def fail(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(422, "odd") if broken and body["messages"][-1]["content"].endswith("7") else None

    with misbehaving(fail) as server:
        with pytest.raises(TeacherFailing):
            run(server, tmp_path, min_success_ratio=0.95)
        first = Counter(server.prompts)
        broken = False
        written = run(server, tmp_path, min_success_ratio=0.95)
        again = Counter(server.prompts) - first
    assert written.tally.kept == len(PROMPTS)
    failed = {"question 7", "question 17", "question 27"}
    assert all(question in failed or first[question] <= 1 for question in again)
    assert sum(count - 1 for question, count in Counter(server.prompts).items() if question not in failed) <= 2


def test_a_revoked_key_keeps_what_came_and_the_next_attempt_needs_only_the_rest(tmp_path: Path) -> None:
    revoked = True
    with misbehaving(lambda number, body: refusing(401, "revoked") if revoked and number > 10 else None) as server:
        with pytest.raises(TeacherRefused, match="401 revoked"):
            run(server, tmp_path)
        came = len((tmp_path / "corpus" / "samples-00000.jsonl").read_text().splitlines())
        assert came >= 8, "all but what was on its way beside the one that was refused"
        revoked = False
        asked_before = len(server.calls)
        assert run(server, tmp_path).tally.kept == len(PROMPTS)
        assert len(server.calls) - asked_before == 1 + len(PROMPTS) - came


def test_failed_prompts_stand_in_the_texts_with_their_reason(tmp_path: Path) -> None:
    def fail(number: int, body: dict[str, Any]) -> Fault | None:
        return refusing(400, "that is too long") if body["messages"][-1]["content"] == "question 7" else None

    with misbehaving(fail) as server:
        written = run(server, tmp_path)
    (line,) = [line for line in lines_of(written) if line["verdict"] == "dropped"]
    assert (line["prompt"], line["reason"], line["detail"]) == ("question 7", "refused", "400 that is too long")
    assert written.tally.reasons == {"refused": 1}


def test_a_budget_that_is_used_up_leaves_texts_to_go_on_with(tmp_path: Path) -> None:
    diary = Diary()
    with misbehaving() as server:
        written = run(server, tmp_path, diary, budget={"max_requests": 21})
    assert written.tally.kept == 20
    assert written.tally.reasons == {"over_budget": 10}
    assert written.tally.parts["test"] > 0
    assert any("10 of 30 texts were not asked for" in message for level, message in diary.events if level == "warning")
    with misbehaving() as untouched:
        assert run(untouched, tmp_path, budget={"max_requests": 21}).tally.kept == 20
    assert untouched.calls == []
