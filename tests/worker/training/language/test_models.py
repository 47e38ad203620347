"""Language models are what they seem: a body and a head, and logits that are the head's output."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, Cohere2Config, Gemma2Config

from core.errors import ModelUnreadable, StudentUnusable
from core.spec import StudentSpec
from tests.worker.training.language.conftest import FAMILIES, WritingLab, llama
from worker.training.language.models import body_of, check_head, head_of, load_writer
from worker.training.language.students import build_writer
from worker.training.models import Loaded

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_body_and_head_together_are_the_model(family: str) -> None:
    model = FAMILIES[family]().eval()
    ids = torch.arange(6).unsqueeze(0)
    whole = model(input_ids=ids).logits
    torch.testing.assert_close(head_of(model)(body_of(model)(input_ids=ids).last_hidden_state), whole)
    check_head(model, family)


@pytest.mark.parametrize(
    "config",
    [Gemma2Config(**SIZES, final_logit_softcapping=1.0), Cohere2Config(**SIZES, logit_scale=0.1)],
    ids=["capped", "scaled"],
)
def test_logits_that_are_capped_or_scaled_behind_the_head_are_refused(config: Any) -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelUnreadable, match="scales or caps its logits"):
        check_head(AutoModelForCausalLM.from_config(config), "teacher")


def test_a_classifier_is_no_language_model(tmp_path: Path, tokenizer: Any) -> None:
    config = BertConfig(**{**SIZES, "vocab_size": 320}, is_decoder=False)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelUnreadable, match="lack"):
        load_writer(tmp_path / "bert", "bert")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_copied_layers_says_what_they_say(family: str, tokenizer: Any) -> None:
    """With every layer copied, the student is the teacher; with some, it has as many."""
    teacher = Loaded(FAMILIES[family]().eval(), tokenizer, frozenset())
    whole = build_writer(StudentSpec.model_validate({"from_teacher": {"layers": [0, 1, 2]}}), None, teacher, 0)
    ids = torch.arange(6).unsqueeze(0)
    torch.testing.assert_close(whole.model.eval()(input_ids=ids).logits, teacher.model(input_ids=ids).logits)
    some = build_writer(StudentSpec.model_validate({"from_teacher": {"layers": [2, 0]}}), None, teacher, 0)
    assert some.model.config.num_hidden_layers == 2
    assert some.model.generation_config is not None
    assert some.model.generation_config.eos_token_id == 2


def test_a_student_from_a_config_has_the_teachers_tokens_and_its_end(lab: WritingLab) -> None:
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    outcome, report = lab.run(
        student={"config": {**config, "num_attention_heads": 2, "num_key_value_heads": 1}},
        training={"max_steps": 2},
        evaluation={"baseline": False},
    )
    made = AutoModelForCausalLM.from_pretrained(outcome.student)
    assert (made.config.vocab_size, made.config.eos_token_id) == (320, 2)
    assert report.student.layers == 1


def test_patterns_say_what_learns_and_a_pattern_that_fits_nothing_is_refused(tokenizer: Any) -> None:
    teacher = Loaded(llama(), tokenizer, frozenset())
    layers = {"from_teacher": {"layers": [0, 1]}}
    spec = StudentSpec.model_validate({**layers, "trainable": ["model.layers.1.*"]})
    student = build_writer(spec, None, teacher, 0)
    learning = {name.split(".")[2] for name, one in student.model.named_parameters() if one.requires_grad}
    assert learning == {"1"}
    with pytest.raises(StudentUnusable, match="no parameter matches"):
        build_writer(StudentSpec.model_validate({**layers, "trainable": ["encoder.*"]}), None, teacher, 0)


def test_adapters_are_merged_into_a_plain_model(lab: WritingLab) -> None:
    outcome, report = lab.run(
        student={"from_teacher": {"layers": [0, 2]}, "lora": {"r": 2}},
        training={"max_steps": 2, "learning_rate": 0.01},
        evaluation={"baseline": False},
    )
    made = AutoModelForCausalLM.from_pretrained(outcome.student)
    assert made.num_parameters() == report.student_after.parameters == report.student_before.parameters


def test_a_model_whose_tokenizer_is_missing_is_said(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    with pytest.raises(ModelUnreadable, match="no tokenizer"):
        load_writer(tmp_path, "bare")
