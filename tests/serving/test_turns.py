"""So many at once, so many in line, and every answer ends in one line that says how."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from core.errors import BlobMissing
from core.serving import Alive, Failed, Finished, Line, Piece
from serving import turns as room
from serving.turns import Turn, Turns

Task = Callable[[Turn], float]
ONE = Piece(choice=0, text="one")


async def said(turns: Turns, task: Task) -> list[Line]:
    return [line async for line in turns.answer(task)]


def test_lines_come_in_their_order_and_the_last_says_how_long_it_took() -> None:
    def task(turn: Turn) -> float:
        turn.tell(ONE)
        turn.tell(ONE)
        return 2.5

    async def scene() -> list[Line]:
        turns = Turns(1, 0)
        lines = await said(turns, task)
        while turns.present:  # forgotten a moment after its last word
            await asyncio.sleep(0.01)
        return lines

    assert asyncio.run(scene()) == [Alive(), ONE, ONE, Finished(seconds=2.5)]


def test_an_error_of_ours_arrives_as_itself_and_any_other_without_its_words() -> None:
    def missing(turn: Turn) -> float:
        raise BlobMissing("models/x/config.json")

    def broken(turn: Turn) -> float:
        raise KeyError("something private")

    turns = Turns(1, 0)
    _, failed = asyncio.run(said(turns, missing))
    assert isinstance(failed, Failed)
    assert str(failed.error()) == str(BlobMissing("models/x/config.json"))
    assert isinstance(failed.error(), BlobMissing)
    _, unforeseen = asyncio.run(said(turns, broken))
    assert isinstance(unforeseen, Failed)
    assert unforeseen.code == "internal_error"
    assert "private" not in str(unforeseen)


def test_who_waits_long_hears_that_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ALIVE_SECONDS", 0.02)
    was_heard = threading.Event()

    def slow(turn: Turn) -> float:
        assert was_heard.wait(60)
        return 0.0

    async def scene() -> list[Line]:
        lines = []
        async for line in Turns(1, 0).answer(slow):
            lines.append(line)
            if len(lines) == 3:
                was_heard.set()
        return lines

    lines = asyncio.run(scene())
    assert lines[:3] == [Alive(), Alive(), Alive()]
    assert isinstance(lines[-1], Finished)


def test_one_that_is_too_many_is_sent_away_and_one_that_leaves_the_line_makes_room() -> None:
    is_over = threading.Event()

    def until_told(turn: Turn) -> float:
        is_over.wait(60)
        return 0.0

    async def scene() -> tuple[list[Line], int, list[Line]]:
        turns = Turns(1, 1)
        working = asyncio.create_task(said(turns, until_told))
        waiting = asyncio.create_task(said(turns, until_told))
        await asyncio.sleep(0.05)
        refused = await said(turns, until_told)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.05)
        left = turns.present
        is_over.set()
        return refused, left, await working

    (refused,), left, worked = asyncio.run(scene())
    assert isinstance(refused, Failed)
    assert refused.code == "serving_busy"
    assert left == 1
    assert isinstance(worked[-1], Finished)


def test_work_for_nobody_ends_at_its_next_word() -> None:
    ended = threading.Event()

    def endless(turn: Turn) -> float:
        try:
            while True:
                turn.tell(ONE)
                time.sleep(0.001)
        finally:
            ended.set()

    async def scene() -> None:
        answer = Turns(1, 0).answer(endless)
        assert [await anext(answer), await anext(answer)] == [Alive(), ONE]
        await answer.aclose()
        assert await asyncio.to_thread(ended.wait, 5)

    asyncio.run(scene())


def test_work_that_does_not_move_is_seen_and_what_waits_is_not_blamed() -> None:
    is_over = threading.Event()

    def stuck(turn: Turn) -> float:
        is_over.wait(60)
        return 0.0

    async def scene() -> bool:
        turns = Turns(1, 1)
        both = [asyncio.create_task(said(turns, stuck)) for _ in range(2)]
        while not turns.stalled(0.05):
            await asyncio.sleep(0.01)
        is_blamed = turns.stalled(60)
        is_over.set()
        await asyncio.gather(*both)
        return is_blamed

    assert not asyncio.run(scene())
