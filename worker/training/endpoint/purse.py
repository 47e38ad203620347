"""What a teacher may cost: every request is paid for with its worst case before it is sent, and settled afterwards."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.endpoints import BudgetSpec
from worker.training.endpoint.asking import Question

LEDGER = "ledger.json"


@dataclass
class Spent:
    """What was used so far, over all attempts of the job."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unknown_tokens: int = 0
    """Of those, what was only assumed: the worst case of requests whose answer never came or told nothing."""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass
class Purse:
    """Lets no request go whose worst case does not fit beside all that is spent and all that is on its way.

    The ledger lies beside the texts and goes where they go. It is written before a request leaves, so that a job that
    is killed in between counts what it had sent.
    """

    budget: BudgetSpec
    folder: Path
    spent: Spent = field(default_factory=Spent)
    on_their_way: list[Question] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            self.spent = Spent(**json.loads((self.folder / LEDGER).read_bytes()))
        except (OSError, ValueError, TypeError):
            self.spent = Spent()

    @property
    def cost(self) -> float | None:
        return self.budget.cost(self.spent.prompt_tokens, self.spent.completion_tokens)

    def pay(self, question: Question) -> bool:
        """Set a request's worst case aside. Returns False, and sets nothing aside, where it does not fit."""
        if not self._fits(question):
            return False
        self.on_their_way.append(question)
        self.spent.requests += 1
        self._write()
        return True

    def settle(self, question: Question, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        """Replace what was set aside by what was used; where that is not known, by all of it."""
        self.on_their_way.remove(question)
        prompt = question.prompt_tokens if prompt_tokens is None else prompt_tokens
        completion = question.completion_tokens if completion_tokens is None else completion_tokens
        self.spent.prompt_tokens += prompt
        self.spent.completion_tokens += completion
        if prompt_tokens is None or completion_tokens is None:
            self.spent.unknown_tokens += prompt + completion
        self._write()

    def _fits(self, question: Question) -> bool:
        asked = [*self.on_their_way, question]
        prompt = self.spent.prompt_tokens + sum(one.prompt_tokens for one in asked)
        completion = self.spent.completion_tokens + sum(one.completion_tokens for one in asked)
        cost = self.budget.cost(prompt, completion)
        limits = [
            (self.budget.max_requests, self.spent.requests + 1),
            (self.budget.max_tokens, prompt + completion),
            (self.budget.max_cost, cost),
        ]
        return all(limit is None or used is None or used <= limit for limit, used in limits)

    def _write(self) -> None:
        """Write the ledger as if all that is on its way were lost, whole or not at all."""
        worst = asdict(self.spent)
        for question in self.on_their_way:
            worst["prompt_tokens"] += question.prompt_tokens
            worst["completion_tokens"] += question.completion_tokens
            worst["unknown_tokens"] += question.prompt_tokens + question.completion_tokens
        part = self.folder / f"{LEDGER}.part"
        part.write_text(json.dumps(worst))
        part.rename(self.folder / LEDGER)
