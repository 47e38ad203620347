"""One text from a server: asked for until it comes, or until there is a reason why it does not."""

import asyncio
from dataclasses import dataclass, field

from core.errors import JobFailed
from worker.training.endpoint.asking import Answer, Question, answer_of, words_of
from worker.training.endpoint.line import Line, NoReply, Reply
from worker.training.endpoint.pauses import Gate, is_worth_retrying, pause_seconds
from worker.training.endpoint.purse import Purse


@dataclass(frozen=True)
class Failure:
    """Why a text did not come."""

    reason: str
    """As texts.jsonl and the report name it: `unanswered`, `refused` or `over_budget`."""
    detail: str
    status: int | None = None
    """None where nothing came back."""
    may_pass: bool = False
    """Whether asking again may help."""
    pause_seconds: float | None = None
    """How long the server asks to be left alone."""


OVER_BUDGET = Failure("over_budget", "the budget is used up")


@dataclass
class Caller:
    """Asks one server, with retries, within the budget."""

    line: Line
    purse: Purse
    max_retries: int
    gate: Gate = field(default_factory=Gate)

    async def answer(self, question: Question) -> Answer | Failure:
        """Return the answer, or why there is none. Raises what the line raises beside NoReply."""
        attempt = 0
        while True:
            attempt += 1
            await self.gate.passed()
            if not self.purse.pay(question):
                return OVER_BUDGET
            found = await self._attempt(question)
            if isinstance(found, Answer) or not found.may_pass or attempt > self.max_retries:
                return found
            if found.pause_seconds is not None:
                self.gate.close(found.pause_seconds)
            else:
                await asyncio.sleep(pause_seconds(attempt))

    async def _attempt(self, question: Question) -> Answer | Failure:
        try:
            reply = await self.line.post(question.path, question.body)
        except NoReply as error:
            self._settle_unknown(question, was_sent=error.was_sent)
            return Failure("unanswered", error.reason, may_pass=True)
        except JobFailed:
            self._settle_unknown(question, was_sent=False)
            raise
        except BaseException:  # cancelled on the way, most often: the server may have done its work
            self._settle_unknown(question, was_sent=True)
            raise
        if reply.status != 200:
            # What is refused, or fails, is not charged for.
            self._settle_unknown(question, was_sent=False)
            return refusal_of(reply)
        answer = answer_of(reply)
        if answer is None:
            self._settle_unknown(question, was_sent=True)
            return Failure("unanswered", f"no completion came: {words_of(reply)}", 200, may_pass=True)
        self.purse.settle(question, answer.prompt_tokens, answer.completion_tokens)
        return answer

    def _settle_unknown(self, question: Question, *, was_sent: bool) -> None:
        """Count the worst case where the work may have been done, and nothing where it cannot have been."""
        self.purse.settle(question, *((None, None) if was_sent else (0, 0)))


def refusal_of(reply: Reply) -> Failure:
    may_pass = is_worth_retrying(reply.status)
    reason = "unanswered" if may_pass else "refused"
    return Failure(reason, words_of(reply), reply.status, may_pass, reply.retry_after_seconds)
