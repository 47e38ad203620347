"""The methods: what can be refused when it is written is refused then."""

import pytest
from pydantic import ValidationError

from core.methods import FiltersSpec, GenerationSpec, LogitsMethod, SequenceMethod, finder


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "(((a{1000}){1000}){1000})"])
def test_an_unusable_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="no usable regular expression"):
        FiltersSpec(pattern=pattern)


def test_a_pattern_is_looked_for_anywhere_and_takes_no_exponential_time() -> None:
    assert finder(r"\d+")("it is 12")
    assert not finder(r"^\d+")("it is 12")
    assert not finder("^(a+)+$")("a" * 100_000 + "!")


@pytest.mark.parametrize(
    "parts",
    [
        {"filters": {"min_tokens": 300}},
        {"filters": {"min_tokens": 9, "max_tokens": 8}},
        {"filters": {"min_tokens": 9}, "generation": {"max_new_tokens": 8}},
    ],
)
def test_lengths_that_no_text_can_have_are_refused(parts: dict[str, dict[str, int]]) -> None:
    with pytest.raises(ValidationError, match="nothing could pass"):
        SequenceMethod.model_validate(parts)
    SequenceMethod.model_validate({"filters": {"min_tokens": 8}, "generation": {"max_new_tokens": 8}})


@pytest.mark.parametrize("language", ["xx", "EN", "eng"])
def test_a_language_that_nobody_tells_apart_is_refused(language: str) -> None:
    with pytest.raises(ValidationError, match="told apart"):
        FiltersSpec(language=language)
    assert FiltersSpec(language="ko").language == "ko"


def test_more_than_all_samples_cannot_agree() -> None:
    with pytest.raises(ValidationError, match="nothing could agree"):
        SequenceMethod.model_validate({"filters": {"agreement": {"k": 2}}})


@pytest.mark.parametrize("beside", [{"top_k": 8}, {"divergence": "tvd"}, {"divergence": "jsd"}, {"hidden": {}}])
def test_sorted_probabilities_know_no_words_and_no_layers(beside: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="alignment uld"):
        LogitsMethod.model_validate({"alignment": "uld", **beside})
    assert LogitsMethod.model_validate({"alignment": "uld", "divergence": "forward_kl"}).alignment == "uld"


def test_logits_cannot_be_compared_where_probabilities_alone_are_kept() -> None:
    with pytest.raises(ValidationError, match="mse compares logits"):
        LogitsMethod.model_validate({"divergence": "mse", "top_k": 8})


@pytest.mark.parametrize(
    ("sampling", "why"),
    [
        ({"temperature": 0.0}, None),
        ({"temperature": 0.005}, "vllm takes a temperature"),
        ({"temperature": 0.01}, None),
        ({"temperature": 2.0}, None),
        ({"temperature": 3.0}, "vllm takes a temperature"),
        ({"min_p": 0.1, "top_p": 0.9}, "vllm leaves out by min_p before top_p"),
        ({"min_p": 0.1, "top_p": 1.0}, None),
        ({"top_p": 0.9, "top_k": 5}, None),
    ],
)
def test_sampling_that_vllm_would_do_otherwise_is_refused(sampling: dict[str, float], why: str | None) -> None:
    assert GenerationSpec.model_validate(sampling)
    if why is None:
        assert GenerationSpec.model_validate({**sampling, "engine": "vllm"})
        return
    with pytest.raises(ValidationError, match=why):
        GenerationSpec.model_validate({**sampling, "engine": "vllm"})
