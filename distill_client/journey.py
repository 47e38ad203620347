"""What a watcher knows of a job: its stage, how far it is and its losses, put together from the stream."""

from dataclasses import dataclass, field

from distill_client.shapes import Event, Job, Progress

LOSSES = ("kd_loss", "ce_loss")


@dataclass
class Journey:
    status: str
    stage: str | None = None
    progress: Progress = field(default_factory=Progress)
    losses: dict[str, float] = field(default_factory=dict)
    phase: str = ""
    """Whose losses these are: the student's, or those of `teacher` or `baseline`."""

    @classmethod
    def of(cls, job: Job) -> "Journey":
        losses = {name: job.metrics[name] for name in LOSSES if name in job.metrics}
        return cls(job.status, job.stage, job.progress, losses)

    def take(self, event: Event) -> None:
        if event.type == "progress":
            self._take_progress(event)
        elif event.type == "metric":
            self._take_metric(event)
        elif event.type in ("status", "done"):
            self.status = str(event.data.get("status", self.status))
            if self.status not in ("running", "pausing", "cancelling"):
                self.stage = None

    @property
    def headline(self) -> str:
        """The stage where there is one: `running` says less."""
        if self.status == "running" and self.stage:
            return self.stage
        return self.status

    def _take_progress(self, event: Event) -> None:
        self.progress = Progress.model_validate(event.data)
        self.status = str(event.data.get("status", self.status))
        self.stage = event.data.get("stage", self.stage)

    def _take_metric(self, event: Event) -> None:
        phase, _, name = str(event.data.get("name", "")).rpartition("/")
        value = event.data.get("value")
        if name not in LOSSES or not isinstance(value, (int, float)):
            return
        if phase != self.phase:
            self.phase, self.losses = phase, {}
        self.losses[name] = float(value)
