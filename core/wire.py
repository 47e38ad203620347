"""What travels between the processes: the broker's one message, and the JSON that a job's row carries."""

import signal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import Blame

RUN_JOB = "distill.run_job"
"""The broker's only message: RUN_JOB with a job id. Its queue is the job's `resources.queue`."""

NOT_CLAIMED = 75
"""Exit code of a training process that found its job already taken."""

FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Somebody outside ended a process that trains: the job is as good as before and may be tried again."""

READY = "--ready"
"""Tells a training process to import what trains before it reads which job is its own."""


class Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Order(Wire):
    """What a worker tells its training process over stdin, in one line: what no command line, environment or file may
    show."""

    job: str
    token: str
    """The lease's fencing token."""
    worker: str
    secrets: dict[str, str] = Field(default_factory=dict, repr=False)
    """The values of those secrets that the job names."""
    withheld: dict[str, str] = Field(default_factory=dict)
    """Why each of the others could not be read."""

    @property
    def folder(self) -> str:
        """The name of this attempt's own folder: an earlier attempt may wake beside it, and tidy up after itself."""
        return f"{self.job}-{self.token[:16]}"


class Errand(Wire):
    """What a job's first process tells another one over stdin, in one line: a training to take part in."""

    share: str
    """The file that says what is trained."""
    meeting: str
    """The file in which the processes find each other."""
    rank: int
    size: int


class Progress(Wire):
    percent: float = 0.0
    step: int = 0
    total_steps: int | None = None
    epoch: float = 0.0
    seconds_elapsed: float = 0.0
    seconds_remaining: float | None = None


class JobError(Wire):
    """Why a job failed: what happened, what to do, where it was, and who can mend it."""

    code: str
    message: str
    hint: str
    stage: str | None = None
    step: int | None = None
    blame: Blame = "platform"


class Estimate(Wire):
    seconds: float
    peak_memory_bytes: int
    disk_bytes: int
    cost: float | None = None
    """What a teacher behind an endpoint costs at most, in the currency of its prices; None without prices."""


Stage = Literal["loading", "teaching", "training", "evaluating", "exporting", "uploading"]
"""Where a running job is. `teaching` prepares the teacher: fine-tuning it, caching its logits, or letting it write."""
EventType = Literal["status", "log", "done"]
Level = Literal["info", "warning", "error"]


def how_ended(code: int) -> str:
    """Say the exit code of a process in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
