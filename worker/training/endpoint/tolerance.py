"""How many texts may fail before the job does."""

from collections import Counter
from dataclasses import dataclass, field

from core.endpoints import TeacherFailing, TeacherRefused, TeacherUnreachable
from core.errors import JobFailed
from worker.training.endpoint.calls import OVER_BUDGET, Failure

CLOSED_DOORS = frozenset({401, 402})
"""The key is unknown, revoked or without credit: no other text would come either."""
LEAST_IN_A_ROW = 8


@dataclass
class Tolerance:
    """Counts failures. `texts` is how many the whole job asks for, earlier attempts included."""

    server: str
    texts: int
    min_success_ratio: float
    concurrency: int
    details: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0

    def succeeded(self) -> None:
        self.in_a_row = 0

    def failed(self, failure: Failure) -> None:
        """Count a text that did not come.

        Raises:
            TeacherRefused, TeacherUnreachable: nothing but failures comes back, or the key opens nothing any more.
            TeacherFailing: the ratio cannot be reached any more.
        """
        if failure is OVER_BUDGET:
            return
        self.details[failure.detail] += 1
        self.in_a_row += 1
        if failure.status in CLOSED_DOORS or self.in_a_row >= max(LEAST_IN_A_ROW, self.concurrency):
            raise given_up(self.server, failure)
        failed = self.details.total()
        if failed > self.allowed:
            often = "; ".join(f"{count:,} times {detail}" for detail, count in self.details.most_common(3))
            raise TeacherFailing(failed, self.texts, often)

    @property
    def allowed(self) -> int:
        # 0.95 of 20 is 19, and not the 18.999… that floats make of it.
        return int(self.texts * (1 - self.min_success_ratio) + 1e-9)


def given_up(server: str, failure: Failure) -> JobFailed:
    """Return the error that says why there is no use in asking on."""
    if failure.reason == "refused":
        return TeacherRefused(server, failure.detail)
    return TeacherUnreachable(server, failure.detail)
