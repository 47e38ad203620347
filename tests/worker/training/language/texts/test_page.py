"""Any report by texts can be drawn, and nothing that a model or a user wrote becomes markup."""

from typing import Any

import pytest

from core.report import (
    Cost,
    GenerationReport,
    Interval,
    Sample,
    StudentFacts,
    WritingExamples,
    WritingGain,
    WritingQuality,
    WrittenTexts,
)
from tests.worker.training.language.conftest import spec_of
from tests.worker.training.language.texts.conftest import method
from worker.training.language.texts.page import texts_card, texts_page

NASTY = "</td><script>alert(1)</script>|`[x](y)"
HISTORY: list[dict[str, Any]] = [{"loss": 2.0, "step": 1, "validation/ce": 1.5}, {"loss": 1.0, "step": 2}]


def quality(**known: float) -> WritingQuality:
    sizes: dict[str, Any] = {"parameters": 10, "bytes": 40, "tokens_per_second": 9.0, "distinct_2": None}
    unknown = {"agreement": None, "kl_to_teacher": None}
    return WritingQuality.model_validate({"loss": 2.0, "perplexity": 7.4, **sizes, **unknown, **known})


def a_report(**known: Any) -> GenerationReport:
    counts: dict[str, Any] = dict.fromkeys(("prompts", "samples", "kept", "tokens", "kept_tokens", "verified"), 5)
    notes = {
        "tokens_per_second": None,
        "engines": {NASTY: NASTY, "b": "an engine"},
        "kept_of": {NASTY: 1},
        "no_baseline": NASTY,
        "incomparable": NASTY,
    }
    plain: dict[str, Any] = {
        "task": "text-generation",
        "held_out": "test",
        "examples": WritingExamples(train=3, validation=1, test=1, kept_tokens=9, truncated=0, dropped=0),
        "student": StudentFacts(architecture="x", layers=1, embedding_parameters=2),
        "teachers": {},
        "texts": WrittenTexts(**counts, **notes, dropped={"unfinished": 2, NASTY: 1}),
        "samples": [Sample(prompt=NASTY, reference=None, teacher=NASTY, student_before=NASTY, student_after=NASTY)],
        "cost": Cost(seconds={"teaching": 1.0}, steps=2, device="cpu", precision="fp32"),
        "verdict": NASTY,
        **dict.fromkeys(("teacher", "baseline", "gain", "compression", "speedup")),
        **{name: quality() for name in ("student_before", "student_after")},
    }
    return GenerationReport.model_validate({**plain, **known})


MEASURED = {
    "teacher": quality(agreement=1.0, kl_to_teacher=0.0, pass_rate=0.9),
    "student_before": quality(agreement=0.1, kl_to_teacher=2.0, pass_rate=0.1),
    "student_after": quality(agreement=0.5, kl_to_teacher=0.5, pass_rate=0.5, completions_loss=3.0),
    "baseline": quality(agreement=0.4, kl_to_teacher=0.6, pass_rate=0.4, completions_loss=2.0),
    "gain": WritingGain(
        loss=-0.5,
        loss_interval=Interval(low=-0.6, high=-0.4),
        kl_to_teacher=-0.1,
        kl_interval=Interval(low=-0.2, high=-0.1),
        agreement=0.1,
    ),
    "compression": 2.0,
    "speedup": 3.0,
}


@pytest.mark.parametrize("known", [{}, MEASURED], ids=["least", "most"])
def test_a_report_is_drawn_and_stays_text(known: dict[str, Any]) -> None:
    report, spec = a_report(**known), spec_of(method=method(), name=NASTY)
    curves = {"student": HISTORY, **({"baseline": HISTORY} if known else {})}
    page = texts_page(spec, report, curves, {"teacher": NASTY})
    card = texts_card(spec, report).split("---", 2)[2]
    assert "<br>by an engine" in page
    for drawn in (page, card):
        assert "<script" not in drawn
        assert "cut off by max_new_tokens" in drawn.replace("\\_", "_")
        assert ("Right answers" in drawn) == bool(known)
        assert ("Loss on the data set" in drawn) == bool(known)
        assert ("Own completions" in drawn) == bool(known)
    assert ("nats of loss per token of the teacher's texts, over" in page) == bool(known)
    assert ("Over the same student" in card) == bool(known)
