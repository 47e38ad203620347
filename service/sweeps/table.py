"""A sweep's table: what its finished jobs reported, side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from core.lifecycle import FINAL, JobStatus
from core.report import REPORT, ClassificationReport, GenerationReport, Quality, WritingQuality
from core.sweeps import Look
from core.tables import Job, Sweep, SweepPoint
from service.sweeps.front import Worth, best_of, pareto_front, with_one_clock
from service.sweeps.schemas import Measure, PointOut, SweepTableOut, sweep_out

AnyReport = ClassificationReport | GenerationReport
Reports = Mapping[str, AnyReport]
LOSSES: frozenset[Measure] = frozenset({"loss", "completions_loss"})
"""Measures of which less is better."""


def table_of(row: Sweep, points: Sequence[tuple[SweepPoint, Job | None]]) -> SweepTableOut:
    """Return the sweep with a line for each point, and the front of those that have a report."""
    reports = {job.id: REPORT.validate_python(job.report) for _, job in points if job is not None and job.report}
    measure = measure_of(reports)
    worths: dict[str, Worth] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for job_id, report in reports.items():
        after = report.student_after
        worths[job_id] = Worth(_badness(report, measure), after.bytes, _latency_ms(after))
        shapes[job_id] = (after.parameters, after.bytes)
    worths = with_one_clock(worths, shapes)
    looks = [_look(job) for _, job in points]
    return SweepTableOut(
        **dict(sweep_out(row, looks)),
        measure=measure,
        points=[_line(point, job, look, reports, measure) for (point, job), look in zip(points, looks, strict=True)],
        front=pareto_front(worths),
        best=best_of(worths),
    )


def measure_of(reports: Reports) -> Measure | None:
    """Return what all of these students can be compared by; None where there is none yet."""
    candidates: tuple[Measure, ...] = ("accuracy", "agreement")
    if any(isinstance(report, GenerationReport) for report in reports.values()):
        candidates = ("loss",)
    if any(isinstance(report, GenerationReport) and report.texts is not None for report in reports.values()):
        candidates = ("pass_rate", "completions_loss", "loss")
    whole = (
        name for name in candidates if all(_figure(one, "student_after", name) is not None for one in reports.values())
    )
    return next(whole, None) if reports else None


def _look(job: Job | None) -> Look:
    if job is None:
        return Look(None, 100.0)
    return Look(JobStatus(job.status), job.progress.get("percent", 0.0))


def _line(point: SweepPoint, job: Job | None, look: Look, reports: Reports, measure: Measure | None) -> PointOut:
    report = reports.get(job.id) if job is not None else None
    is_over = look.status is None or look.status in FINAL
    return PointOut(
        place=point.place,
        values=point.values,
        job_id=point.job_id,
        status=look.status,
        stage=None if job is None or is_over else job.stage,
        percent=100.0 if is_over else look.percent,
        error=job.error["code"] if job is not None and job.error else None,
        baseline_job_id=point.baseline_job_id,
        gain=_gain(report, reports.get(point.baseline_job_id or ""), measure),
        **_figures(report, measure),
    )


def _figures(report: AnyReport | None, measure: Measure | None) -> dict[str, Any]:
    if report is None or measure is None:
        names = ("quality", "agreement", "kl_to_teacher", "parameters", "bytes", "latency_ms", "per_second")
        return dict.fromkeys(names)
    after = report.student_after
    same = {name: getattr(after, name) for name in ("agreement", "kl_to_teacher", "parameters", "bytes")}
    latency_ms = _latency_ms(after)
    per_second = after.examples_per_second if isinstance(after, Quality) else after.tokens_per_second
    return {
        **same,
        "quality": _figure(report, "student_after", measure),
        "latency_ms": latency_ms if math.isfinite(latency_ms) else None,
        "per_second": per_second,
    }


def _gain(
    report: AnyReport | None,
    trainers: AnyReport | None,
    measure: Measure | None,
) -> float | None:
    """Quality minus that of the baseline, which another job's report may hold."""
    if report is None or trainers is None or trainers.baseline is None or measure is None:
        return None
    own, alone = _figure(report, "student_after", measure), _figure(trainers, "baseline", measure)
    return own - alone if own is not None and alone is not None else None


def _figure(report: AnyReport, model: Literal["student_after", "baseline"], measure: Measure) -> float | None:
    if measure == "completions_loss" and isinstance(report, GenerationReport) and report.texts is None:
        measure = "loss"  # a student of logits is measured on the data set's own completions anyway
    figure: float | None = getattr(getattr(report, model), measure, None)
    return figure


def _badness(report: AnyReport, measure: Measure | None) -> float:
    figure = _figure(report, "student_after", measure) if measure is not None else None
    assert figure is not None, "the measure is one that all reports have"
    return figure if measure in LOSSES else -figure


def _latency_ms(quality: Quality | WritingQuality) -> float:
    """Of one example alone, or of one token that is written after the other."""
    if isinstance(quality, Quality):
        return quality.latency_ms
    return 1000 / quality.tokens_per_second if quality.tokens_per_second else math.inf
