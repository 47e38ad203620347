"""The model card: what the student derives from, who taught it, and that nothing in it becomes markup by accident."""

from typing import Any

import pytest
from huggingface_hub import ModelCard

from core.spec import JobSpec
from tests.reports import a_report, a_report_by_texts, a_writing_report
from tests.worker.training.language.texts.conftest import method
from worker.training.card import inert, model_card
from worker.training.language.page import writing_card
from worker.training.language.texts.page import texts_card

FROM_TEACHER: dict[str, Any] = {"from_teacher": {"layers": [0, 2]}}
CONFIG: dict[str, Any] = {"config": {"model_type": "bert"}}
STARTS = [
    ("org/big", "org/small", "org/small", "the weights of org/small"),
    ("org/big", "mine", None, "the weights of mine"),
    ("big", "org/small", "org/small", "the weights of org/small"),
    ("org/big", FROM_TEACHER, "org/big", "copies of layers 0, 2 (from 0) of org/big"),
    ("big", FROM_TEACHER, None, "copies of layers 0, 2 (from 0) of big"),
    (["org/big", "org/other"], FROM_TEACHER, "org/big", "copies of layers 0, 2 (from 0) of org/big"),
    ("org/big", CONFIG, None, "random weights"),
]


def cards(**parts: Any) -> list[ModelCard]:
    """The card of a classifier, of a language model taught by logits, and of one taught by texts."""
    spec = JobSpec.model_validate({"dataset": "ds", **parts})
    by_texts = JobSpec.model_validate({"dataset": "ds", "task": "text-generation", "method": method(), **parts})
    made = [
        model_card(spec, a_report()),
        writing_card(spec, a_writing_report()),
        texts_card(by_texts, a_report_by_texts()),
    ]
    return [ModelCard(card) for card in made]


@pytest.mark.parametrize(("teacher", "student", "derived_from", "start"), STARTS)
def test_a_student_derives_from_its_start_and_not_from_its_teacher(
    teacher: Any, student: Any, derived_from: str | None, start: str
) -> None:
    for card in cards(teacher=teacher, student=student):
        assert card.data.base_model == derived_from
        assert f"It began with {start}." in card.text
        assert ", ".join([teacher] if isinstance(teacher, str) else teacher) in card.text


def test_the_formula_stands_as_it_is() -> None:
    classifier, writer, by_texts = (card.text for card in cards(teacher="big", student="small"))
    assert "(`alpha*T^2*KL(teacher||student)+(1-alpha)*CE`)" in classifier
    assert "(`alpha*T^2*KL(teacher||student)+(1-alpha)*CE`)" in writer
    assert "(`CE(teacher's text)`)" in by_texts


def test_no_card_claims_to_know_what_models_from_elsewhere_have_seen() -> None:
    for card in cards(teacher="big", student="small"):
        assert "that this job trained no model on; what models from elsewhere were trained on is not known" in card.text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("*bold* _slanted_", r"\*bold\* \_slanted\_"),
        ("[x](y)", r"\[x\](y)"),
        (r"\[x](y)|", r"\\\[x\](y)\|"),
        ("<b>\n`x`", "&lt;b&gt; 'x'"),
    ],
)
def test_text_of_others_is_shown_as_it_is(text: str, written: str) -> None:
    assert inert(text) == written
