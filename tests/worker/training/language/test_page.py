"""The report as a page, as a card and as a sentence: what it says is the report's, and what others wrote is text."""

from typing import Any

import pytest

from core.report import Interval, WritingGain
from tests.reports import a_report_across_tokenizers, a_writing_report, writing_quality
from tests.worker.training.language.conftest import spec_of
from worker.training.language.page import writing_card, writing_page
from worker.training.language.verdict import paired_verdict, writing_verdict
from worker.training.words import written

HISTORY = [{"step": step, "loss": 3.0 / step, "kd_loss": 2.0, "ce_loss": 1.0, "validation/kl": 1.0} for step in (1, 2)]


def page(**changes: Any) -> str:
    report = a_writing_report().model_copy(update=changes)
    return writing_page(spec_of(), report, {"student": HISTORY, "baseline": HISTORY}, {"teacher": "sha256:x"})


def test_the_page_shows_every_model_and_what_it_writes() -> None:
    shown = page()
    for said in ("Texts alone", "Student before", "But the games also convey", "-0.400", "4,321 tokens", "<svg"):
        assert said in shown


def test_what_models_and_users_wrote_is_escaped() -> None:
    shown = page()
    assert "a sense &lt;b&gt;of&lt;/b&gt; unity." in shown
    assert "<b>of</b>" not in shown
    assert "<script" not in shown
    assert "default-src 'none'" in shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "(nothing: it ended at once)"),
        ("\n\n\n", "(white space alone)"),
        ("\na\n\n\n\n\nb\n", "a\n\nb"),
        (" one\ntwo", " one\ntwo"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, seen: str) -> None:
    assert written(text) == seen
    sample = a_writing_report().samples[0].model_copy(update={"student_after": text})
    assert f">{seen}<" in page(samples=[sample])


def test_the_page_does_without_a_baseline() -> None:
    assert "Texts alone" not in writing_page(
        spec_of(), a_writing_report().model_copy(update={"baseline": None, "gain": None}), {"student": HISTORY}, {}
    )


def test_without_a_kl_the_page_and_the_card_say_why_and_lead_with_the_loss() -> None:
    report = a_report_across_tokenizers()
    shown = writing_page(spec_of(), report, {"student": HISTORY, "baseline": HISTORY}, {})
    card = writing_card(spec_of(), report)
    for said in (shown, card):
        assert "KL and agreement were not measured: its tokens are &lt;b&gt;others&lt;/b&gt;" in said
        assert "Distance of sorted probabilities" in said
        assert "-0.400" in said
        assert "nats of KL to the teacher" not in said
    assert "of the student&#39;s tokens" in shown or "of the student's tokens" in shown
    assert "74.3 %" in shown
    assert "faster for one text" not in shown, "tokens of other lengths are no measure of it"
    assert "faster for one text" in page()
    assert "Distance of sorted" not in page(), "where there is a KL, it is what counts"
    assert "kl_to_teacher" not in card.split("---")[1]


@pytest.mark.parametrize(
    ("interval", "said"),
    [((-0.5, -0.3), "The teacher brought -0.400"), ((-0.5, 0.1), "nothing measurable"), ((0.1, 0.2), "did harm")],
)
def test_the_verdict_across_tokenizers_is_about_the_loss(interval: tuple[float, float], said: str) -> None:
    report = a_report_across_tokenizers()
    assert report.gain is not None
    assert report.teacher is not None
    gain = report.gain.model_copy(update={"loss_interval": Interval(low=interval[0], high=interval[1])})
    students = (report.student_before, report.student_after, report.baseline)
    verdict = paired_verdict(report.teacher, students, gain)
    assert said in verdict
    assert "no KL to it" in verdict
    assert "was not measured" in paired_verdict(report.teacher, (*students[:2], None), None)


def test_the_card_has_numbers_for_programs_and_for_people() -> None:
    card = writing_card(spec_of(), a_writing_report())
    assert "pipeline_tag: text-generation" in card
    assert "kl_to_teacher" in card
    assert "10 test examples" in card
    assert "<b>" not in card


@pytest.mark.parametrize(
    ("loss", "kl", "said"),
    [
        ((-0.5, -0.3), (-0.45, -0.35), "The teacher brought -0.400 nats of KL"),
        ((-0.5, 0.3), (-0.45, -0.35), "nothing measurable in loss"),
        ((0.1, 0.3), (-0.45, -0.35), "at a cost of"),
        ((-0.5, -0.3), (-0.45, 0.35), "nothing measurable in closeness"),
        ((-0.5, 0.3), (-0.45, 0.35), "The teacher brought nothing measurable"),
        ((-0.5, -0.3), (0.35, 0.45), "per token over the texts alone, at a cost of -0.400 nats of KL"),
        ((0.1, 0.3), (-0.45, 0.35), "The teacher did harm against the texts alone, -0.400 nats of loss"),
        ((-0.5, 0.3), (0.35, 0.45), "The teacher did harm against the texts alone, -0.400 nats of KL"),
        ((0.1, 0.3), (0.35, 0.45), "The teacher did harm against the texts alone, -0.400 nats of loss"),
    ],
)
def test_the_verdict_claims_no_more_than_the_intervals_allow(
    loss: tuple[float, float], kl: tuple[float, float], said: str
) -> None:
    gain = WritingGain(
        loss=-0.4,
        loss_interval=Interval(low=loss[0], high=loss[1]),
        kl_to_teacher=-0.4,
        kl_interval=Interval(low=kl[0], high=kl[1]),
        agreement=0.1,
    )
    teacher, after, alone = writing_quality(3.0, parameters=200_000_000), writing_quality(4.0), writing_quality(4.4)
    told = writing_verdict(teacher, after, alone, gain)
    assert said in told
    assert ("brought nothing" in told) == (loss[0] < 0 < loss[1] and kl[0] < 0 < kl[1])
