"""A writer behind an endpoint: several requests at once, each text handed on as soon as it is there."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from core.endpoints import EndpointSpec
from core.methods import GenerationSpec
from worker.training.endpoint.asking import Answer, Manner, question_of
from worker.training.endpoint.calls import OVER_BUDGET, Caller, Failure
from worker.training.endpoint.line import Line
from worker.training.endpoint.probe import found_manner
from worker.training.endpoint.purse import Purse
from worker.training.endpoint.tolerance import Tolerance
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.observer import Observer

T = TypeVar("T")
Found = Answer | Failure
LOOK_SECONDS = 0.25
TELL_SECONDS = 5.0
BYTES_PER_TOKEN = 4
"""About, where a server does not count."""


class EndpointWriter:
    """Writes by asking a server that speaks OpenAI's protocol.

    Texts come in the order in which they are done. Those that failed come last, once it is certain that they are few
    enough: of a job that fails instead none is kept, so that a retry asks for them again.
    """

    is_batched = False

    def __init__(
        self,
        line: Line,
        endpoint: EndpointSpec,
        generation: GenerationSpec,
        seed: int,
        observer: Observer,
        *,
        texts: int,
        ledger: Path,
    ) -> None:
        """`texts`: how many the whole job asks for. `ledger`: the folder of the corpus, which goes where it goes."""
        self.line, self.endpoint, self.generation, self.seed = line, endpoint, generation, seed
        self.observer, self.texts, self.ledger = observer, texts, ledger
        self.told_at = time.monotonic()

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return 0: nothing is padded there, so that prompts need no order of length."""
        return 0

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        """Return all samples, in the order of their asks."""
        found = {sample.key: sample for piece in self.pieces(asks, each_token) for sample in piece}
        return [found[ask.key] for ask in asks]

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        """Yield samples as they come. `each_token` is called several times a second and may raise to stop.

        Raises:
            TeacherUnreachable, TeacherRefused, TeacherFailing: the server, or too many of its answers, are of no use.
            EndpointNotAllowed: its name leads to an address that may not be called.
        """
        if not asks:
            return
        purse = Purse(self.endpoint.budget, self.ledger)
        caller = Caller(self.line, purse, self.endpoint.max_retries)
        with asyncio.Runner() as runner:
            try:
                probe = found_manner(caller, self.endpoint, self.generation, self.seed)
                round_ = _Round(self, caller, _attended(runner, probe, each_token), in_fair_order(asks, self.seed))
                yield from round_.samples(runner, each_token)
            finally:
                self.tell(purse, self.texts)
                runner.run(self.line.close())

    def tell(self, purse: Purse, step: int) -> None:
        """Say what was used so far."""
        spent, cost = purse.spent, purse.cost
        values = {
            "endpoint/requests": spent.requests,
            "endpoint/prompt_tokens": spent.prompt_tokens,
            "endpoint/completion_tokens": spent.completion_tokens,
        }
        self.observer.metrics(step, values if cost is None else {**values, "endpoint/cost": cost})
        self.told_at = time.monotonic()


class _Round:
    """All that is asked for in one go."""

    def __init__(self, writer: EndpointWriter, caller: Caller, manner: Manner, asks: Sequence[Ask]) -> None:
        self.writer, self.caller, self.manner, self.asks = writer, caller, manner, deque(asks)
        self.running: dict[asyncio.Task[Found], Ask] = {}
        self.failed: list[Sample] = []
        self.is_tight = False
        """Nothing more fits into the budget until something that is on its way has been settled."""
        endpoint = writer.endpoint
        self.tolerance = Tolerance(writer.line.name, writer.texts, endpoint.min_success_ratio, endpoint.concurrency)

    def samples(self, runner: asyncio.Runner, each_token: Callable[[], None]) -> Iterator[list[Sample]]:
        try:
            while self.asks or self.running:
                self._start(runner.get_loop())
                done = runner.run(_first_of(self.running))
                each_token()
                found = [(self.running.pop(task), task.result()) for task in done]
                if samples := [sample_of(ask, answer) for ask, answer in found if isinstance(answer, Answer)]:
                    self.tolerance.succeeded()
                    yield samples
                self._count([(ask, failure) for ask, failure in found if isinstance(failure, Failure)])
                if time.monotonic() - self.writer.told_at > TELL_SECONDS:
                    self.writer.tell(self.caller.purse, self.writer.texts - len(self.asks) - len(self.running))
            if self.failed:
                yield self.failed
        finally:
            runner.run(_cancelled(self.running))

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        writer = self.writer
        while self.asks and not self.is_tight and len(self.running) < writer.endpoint.concurrency:
            ask = self.asks.popleft()
            question = question_of(ask, writer.generation, writer.endpoint, writer.seed, self.manner)
            self.running[loop.create_task(self.caller.answer(question))] = ask

    def _count(self, failures: Sequence[tuple[Ask, Failure]]) -> None:
        for ask, failure in failures:
            if failure is OVER_BUDGET:
                self.asks.appendleft(ask)
            else:
                self.failed.append(failed_sample(ask, failure))
                self.tolerance.failed(failure)
        self.is_tight = any(failure is OVER_BUDGET for _, failure in failures)
        if self.is_tight and not self.running:
            self._leave_the_rest()

    def _leave_the_rest(self) -> None:
        self.writer.observer.event(
            f"The budget is used up: {len(self.asks):,} of {self.writer.texts:,} texts were not asked for. "
            "The job goes on with those that are there.",
            "warning",
        )
        self.failed += [failed_sample(ask, OVER_BUDGET) for ask in self.asks]
        self.asks.clear()


async def _first_of(running: dict[asyncio.Task[Found], Ask]) -> set[asyncio.Task[Found]]:
    if not running:
        return set()
    done, _ = await asyncio.wait(running, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    return done


async def _cancelled(running: dict[asyncio.Task[Found], Ask]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _attended(runner: asyncio.Runner, work: Coroutine[Any, Any, T], each_token: Callable[[], None]) -> T:
    """Run something to its end, looking up several times a second; a look that raises cancels it."""

    async def until_look(task: asyncio.Task[T]) -> None:
        await asyncio.wait([task], timeout=LOOK_SECONDS)

    task = runner.get_loop().create_task(work)
    while not task.done():
        runner.run(until_look(task))
        each_token()
    return task.result()


def sample_of(ask: Ask, answer: Answer) -> Sample:
    guess = -(-len(answer.text.encode()) // BYTES_PER_TOKEN)
    return Sample(
        *ask.key,
        text="" if answer.withheld else answer.text,
        prompt_tokens=answer.prompt_tokens or 0,
        completion_tokens=guess if answer.completion_tokens is None else answer.completion_tokens,
        finished=answer.finished,
        fault="withheld" if answer.withheld else None,
        detail=answer.withheld,
        places=() if answer.withheld else answer.places,
    )


def failed_sample(ask: Ask, failure: Failure) -> Sample:
    return Sample(*ask.key, "", 0, 0, finished=False, fault=failure.reason, detail=failure.detail)


def in_fair_order(asks: Sequence[Ask], seed: int) -> list[Ask]:
    """Shuffle the prompts: where a budget ends, what was written is a fair sample of all."""

    def place(ask: Ask) -> tuple[bytes, int, int]:
        digest = hashlib.blake2b(f"{seed}:{ask.prompt.index}".encode(), digest_size=8).digest()
        return digest, ask.prompt.index, ask.sample

    return sorted(asks, key=place)
