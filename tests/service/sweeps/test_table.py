"""The table says what the jobs' reports say, and compares what can be compared."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.lifecycle import JobStatus
from core.report import ClassificationReport, GenerationReport, WrittenTexts
from core.tables import Job, Sweep, SweepPoint
from service.sweeps.schemas import SweepTableOut
from service.sweeps.table import table_of
from tests.core.rows import spec_of
from tests.reports import a_report, a_writing_report, quality, writing_quality

Report = ClassificationReport | GenerationReport
TEXTS = WrittenTexts(
    prompts=9,
    samples=9,
    kept=9,
    dropped={},
    tokens=99,
    kept_tokens=99,
    tokens_per_second=None,
    kept_of={},
    verified=9,
    no_baseline=None,
    incomparable=None,
)


def table(*reports: Report | None, baseline_of: int | None = 0, **job: Any) -> SweepTableOut:
    """The table of a sweep whose jobs left these reports; None is a job that runs."""
    row = Sweep(id="sweep_1", owner="me", name=None, base={}, grid={"T": [1]}, notes=[], created_at=datetime.now(UTC))
    points: list[tuple[SweepPoint, Job | None]] = []
    for place, report in enumerate(reports):
        status = JobStatus.SUCCEEDED if report else JobStatus.RUNNING
        made = {"stage": "training", "progress": {"percent": 40.0}, "error": None, "spec": spec_of().model_dump()} | job
        written = report.model_dump(mode="json") if report else None
        points.append(
            (
                SweepPoint(
                    sweep_id=row.id,
                    place=place + 1,
                    values={"T": place},
                    job_id=f"job_{place}",
                    baseline_job_id=None if baseline_of is None else f"job_{baseline_of}",
                ),
                Job(id=f"job_{place}", status=status, report=written, **made),
            )
        )
    return table_of(row, points)


def classified(accuracy: float | None, **changed: Any) -> Report:
    after = quality(0.5, **changed).model_copy(update={"accuracy": accuracy})
    return a_report().model_copy(update={"student_after": after})


def test_a_line_says_what_its_report_says() -> None:
    found = table(a_report(), None)
    done, running = found.points
    assert (found.measure, found.best, found.front) == ("accuracy", "job_0", ["job_0"])
    assert (done.quality, done.agreement, done.kl_to_teacher) == (0.85, 0.9, 0.1)
    assert (done.parameters, done.bytes, done.latency_ms, done.per_second) == (1000, 4000, 2.0, 500.0)
    assert (running.status, running.stage, running.percent, running.quality) == ("running", "training", 40.0, None)
    assert (found.percent, found.counts.running, found.counts.succeeded) == (70.0, 1, 1)


def test_the_gain_is_over_the_baseline_that_the_first_job_trained() -> None:
    without = classified(0.8).model_copy(update={"baseline": None, "gain": None})
    found = table(a_report(), without)
    assert [point.gain for point in found.points] == [pytest.approx(0.15), pytest.approx(0.1)]
    assert table(without, a_report()).points[1].gain is None


def test_the_front_holds_the_good_the_small_and_the_quick() -> None:
    found = table(
        classified(0.9, parameters=9, bytes=36, latency_ms=3.0),
        classified(0.8, parameters=5, bytes=20, latency_ms=3.0),
        classified(0.7, parameters=6, bytes=24, latency_ms=1.0),
        classified(0.7, parameters=9, bytes=36, latency_ms=2.9),
        None,
    )
    assert (found.front, found.best) == (["job_1", "job_2", "job_0"], "job_0")


def test_without_labels_the_teacher_is_the_measure() -> None:
    found = table(classified(None, agreement=0.7), classified(0.9, agreement=0.6))
    assert (found.measure, found.best) == ("agreement", "job_0")


def test_less_loss_is_better_and_a_token_is_what_is_waited_for() -> None:
    good = a_writing_report().model_copy(update={"student_after": writing_quality(4.0, tokens_per_second=0.0)})
    found = table(a_writing_report(), good)
    assert (found.measure, found.best) == ("loss", "job_1")
    assert found.points[0].latency_ms == pytest.approx(1000 / 45)
    assert found.points[0].gain == pytest.approx(-0.4)
    assert found.points[1].latency_ms is None


def test_students_of_texts_are_measured_by_what_all_of_them_have() -> None:
    of_logits = a_writing_report()

    def of_texts(**measured: float) -> GenerationReport:
        return of_logits.model_copy(update={"texts": TEXTS, "student_after": writing_quality(1.0, **measured)})

    verified = table(of_texts(pass_rate=0.2), of_texts(pass_rate=0.6))
    assert (verified.measure, verified.best) == ("pass_rate", "job_1")
    beside = table(of_texts(completions_loss=4.3), of_logits)
    assert (beside.measure, beside.points[1].quality, beside.best) == ("completions_loss", 4.2, "job_1")
    assert table(of_texts(), of_texts()).measure == "loss"


def test_nothing_is_compared_before_there_is_something() -> None:
    found = table(None, None)
    assert (found.measure, found.front, found.best) == (None, [], None)
