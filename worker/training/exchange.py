"""What goes into a distillation and what comes out of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.report import Report
from core.spec import JobSpec
from worker.training.endpoint.line import Line
from worker.training.generation.vllm.beside import Vllm


@dataclass(frozen=True)
class Inputs:
    spec: JobSpec
    folder: Path
    """The job's work folder: each phase keeps `<phase>/checkpoint-N` in it, those of earlier attempts included."""
    teachers: tuple[Path, ...]
    student: Path | None
    """None where the student is made from the teacher or a config."""
    dataset: Path
    provenance: dict[str, Any]
    cache: Path | None = None
    """Where what teachers say is kept for later jobs; None where nothing is."""
    line: Line | None = None
    """The way to the teacher where it is behind an endpoint."""
    vllm: Vllm = field(default_factory=Vllm)
    """What writes on GPUs, where a spec names it."""
    is_awaited: bool = False
    """Whether other jobs are known to need what these teachers say about these texts."""


@dataclass(frozen=True)
class Outcome:
    report: Report
    student: Path
    """The folder with every artifact, complete with its manifest."""
