"""What a sweep's jobs will be: every point checked as a job of its own is, and baselines trained once each."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.blobs import Blobs
from core.settings import Settings
from core.spec import EvaluationSpec, JobSpec
from core.sweeps import PlannedPoint
from core.wire import Estimate
from service.errors import InvalidRequest
from service.jobs.checked import Checked
from service.jobs.checks import check
from service.jobs.estimate import estimate
from service.problems import Fault
from service.sweeps.grid import Point, SweepSpec, gathered
from service.validation import HINTS, faults_of_spec

MOST_NAME_CHARACTERS = 200
NOT_OF_THE_BASELINE = ("name", "T", "alpha", "output", "resources", "labels", "evaluation")
"""What a student on labels alone does not see: besides the loss, what says where and under which name it is made."""


@dataclass(frozen=True)
class Plan:
    points: Sequence[PlannedPoint]
    notes: Sequence[str]

    @property
    def estimate(self) -> Estimate:
        """Of all jobs, one after the other; a teacher that reads once is still counted in each."""
        each = [point.estimate for point in self.points]
        costs = [one.cost for one in each if one.cost is not None]
        return Estimate(
            seconds=round(sum(one.seconds for one in each), 1),
            peak_memory_bytes=max(one.peak_memory_bytes for one in each),
            disk_bytes=sum(one.disk_bytes for one in each),
            cost=sum(costs) if costs else None,
        )


@dataclass(frozen=True)
class Planner:
    """Checks against one owner's models and data sets, within one transaction."""

    session: Session
    owner: str
    blobs: Blobs
    settings: Settings

    def plan(self, sweep: SweepSpec) -> Plan:
        """Return all jobs. Raises InvalidRequest with every fault, each where it stands in the base or the grid."""
        points = sweep.points()
        specs = _read(sweep, points)
        checked = self._check(points, specs)
        require_one_task(checked)
        trainers = trainers_of([one.spec for one in checked])
        for place, (one, trainer) in enumerate(zip(checked, trainers, strict=True)):
            if trainer not in (None, place):
                one.spec = one.spec.model_copy(update={"evaluation": EvaluationSpec(baseline=False)})
        planned = [
            PlannedPoint(point.values, one.spec, estimate(self.session, one), one.model_ids, one.warnings, trainer)
            for point, one, trainer in zip(points, checked, trainers, strict=True)
        ]
        return Plan(planned, _notes(planned))

    def _check(self, points: Sequence[Point], specs: Sequence[JobSpec]) -> list[Checked]:
        checked: list[Checked] = []
        found: list[tuple[Point, Sequence[Fault]]] = []
        for point, spec in zip(points, specs, strict=True):
            try:
                checked.append(check(self.session, self.owner, spec, self.blobs, self.settings))
                found.append((point, ()))
            except InvalidRequest as refused:
                found.append((point, refused.faults))
        _raise(found)
        return checked


def _read(sweep: SweepSpec, points: Sequence[Point]) -> list[JobSpec]:
    """Return each point's spec, under a name and with an output of its own."""
    specs: list[JobSpec] = []
    found: list[tuple[Point, Sequence[Fault]]] = []
    for number, point in enumerate(points, start=1):
        written = _with_own_output(point.written, number)
        try:
            spec = JobSpec.model_validate(written)
        except ValidationError as error:
            found.append((point, faults_of_spec(error, written)))
            continue
        title = " ".join(part for part in (spec.name or sweep.name, point.in_words) if part)
        specs.append(spec.model_copy(update={"name": title[:MOST_NAME_CHARACTERS]}))
        found.append((point, []))
    _raise(found)
    return specs


def _with_own_output(written: dict[str, Any], number: int) -> dict[str, Any]:
    """`small` becomes `small-1`, `small-2` …, since two models cannot share a name."""
    output = written.get("output")
    if not isinstance(output, dict) or not isinstance(output.get("model"), str):
        return written
    return {**written, "output": {**output, "model": f"{output['model']}-{number}"}}


def _raise(found: Sequence[tuple[Point, Sequence[Fault]]]) -> None:
    faults = gathered(found)
    if faults:
        raise InvalidRequest(faults)


def require_one_task(checked: Sequence[Checked]) -> None:
    """Raise InvalidRequest where points are of different tasks: accuracy and loss stand in no one column."""
    tasks = sorted({str(one.spec.task) for one in checked})
    if len(tasks) > 1:
        detail = f"the points are of different tasks, {' and '.join(tasks)}, whose quality cannot be compared"
        raise InvalidRequest([Fault(pointer="/grid", detail=detail, code="invalid_grid", hint=HINTS["invalid_grid"])])


def trainers_of(specs: Sequence[JobSpec]) -> list[int | None]:
    """Return for each point which one trains its labels-only baseline: the first that would train the same.

    T, alpha and the divergence are the teacher's part of the loss, so the baseline is the same for all of them. Where
    training may stop early it has as many steps as its own student, and where the user asks for it each has its own.
    """
    first: dict[str, int] = {}
    trainers: list[int | None] = []
    for place, spec in enumerate(specs):
        if not spec.evaluation.baseline or not spec.teacher:
            trainers.append(None)
        elif is_asked_for(spec) or spec.training.early_stopping is not None:
            trainers.append(place)
        else:
            trainers.append(first.setdefault(_what_the_baseline_sees(spec), place))
    return trainers


def is_asked_for(spec: JobSpec) -> bool:
    """Whether the user wrote `evaluation.baseline`, instead of leaving it to its default."""
    return "baseline" in spec.evaluation.model_fields_set


def _what_the_baseline_sees(spec: JobSpec) -> str:
    seen = {name: value for name, value in spec.model_dump(mode="json").items() if name not in NOT_OF_THE_BASELINE}
    seen["method"] = {
        name: value for name, value in seen["method"].items() if name not in ("divergence", "beta", "alignment")
    }
    # With alpha 0 a language model has no baseline to give: it is one.
    seen["is_taught"] = spec.alpha > 0 or spec.task != "text-generation"
    return json.dumps(seen, sort_keys=True)


def _notes(planned: Sequence[PlannedPoint]) -> list[str]:
    notes = list(dict.fromkeys(warning for point in planned for warning in point.warnings))
    spared = [place for place, point in enumerate(planned) if point.baseline_at not in (None, place)]
    if spared:
        notes.append(
            f"The student on labels alone does not see T, alpha and divergence: {len(spared)} of {len(planned)} jobs "
            "take it from the first job that is like them otherwise (baseline_job_id). Write evaluation.baseline true "
            "to train it in every job."
        )
    if any(teacher.finetune is not None for point in planned for teacher in point.spec.teacher_models):
        notes.append(
            "Each job fine-tunes its teacher anew. To fine-tune it once, run one job, upload the teacher folder that "
            "it left, and sweep over that model without finetune."
        )
    if any(point.spec.method.type == "sequence" for point in planned):
        notes.append(
            "Each job has its teacher write anew. To write once, run one job, and sweep over the data set that it "
            "left: alpha 0 learns from its texts alone."
        )
    return notes
