"""Writing: each sample is its own, whatever batch it shares."""

import pytest
import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.errors import ChatTemplateUnusable
from tests.worker.training.generation.conftest import prompts_of, spec_of
from worker.training.generation.samples import Ask, Prompt
from worker.training.generation.writer import ModelWriter

QUESTIONS = ("what is one plus four?", "the", "a small model learns from a large one and two and three", "0123")


def silent() -> None:
    pass


def asks(samples: int = 1, *texts: str) -> list[Ask]:
    return [Ask(prompt, sample) for prompt in prompts_of(*(texts or QUESTIONS)) for sample in range(samples)]


def test_greedy_writing_is_what_generate_writes(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    writer = ModelWriter(model, plain_tokenizer, spec_of(temperature=0.0, repetition_penalty=1.3), seed=0)
    written = writer.write(asks(), silent)
    for sample, question in zip(written, QUESTIONS, strict=True):
        ids = plain_tokenizer(question, return_tensors="pt")["input_ids"]
        config = GenerationConfig(
            max_new_tokens=12, do_sample=False, repetition_penalty=1.3, eos_token_id=1, pad_token_id=0
        )
        alone = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert sample.text == plain_tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("repetition_penalty", [1.0, 1.5])
def test_a_sample_does_not_depend_on_its_batch(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, repetition_penalty: float
) -> None:
    spec = spec_of(temperature=0.9, top_p=0.95, top_k=200, min_p=0.001, repetition_penalty=repetition_penalty)
    writer = ModelWriter(model, plain_tokenizer, spec, seed=5)
    together = writer.write(asks(samples=3), silent)
    backwards = writer.write(asks(samples=3)[::-1], silent)
    alone = [writer.write([ask], silent)[0] for ask in asks(samples=3)]
    assert together == alone == backwards[::-1]
    assert len({sample.text for sample in together}) > 9, "samples differ from each other"


def test_another_seed_writes_other_texts(model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast) -> None:
    one, other = (ModelWriter(model, plain_tokenizer, spec_of(), seed).write(asks(), silent) for seed in (1, 2))
    assert [sample.text for sample in one] != [sample.text for sample in other]


def test_a_stop_text_ends_a_sample_and_is_cut_off(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    free = ModelWriter(model, plain_tokenizer, spec_of(), seed=5).write(asks(samples=4), silent)
    stop = free[0].text[3:5]
    bound = ModelWriter(model, plain_tokenizer, spec_of(stop=(stop,)), seed=5).write(asks(samples=4), silent)
    assert stop in free[0].text
    for before, after in zip(free, bound, strict=True):
        assert after.text == before.text.split(stop)[0]
        assert after.finished == (before.finished or stop in before.text)


def test_a_stop_text_in_the_prompt_ends_nothing(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    spec = spec_of(temperature=0.0, stop=("one plus",))
    (sample,) = ModelWriter(model, plain_tokenizer, spec, seed=5).write(asks(1, QUESTIONS[0]), silent)
    assert sample.completion_tokens == 12


def test_only_a_text_that_ended_by_itself_is_finished(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    # Any token may be declared the end: the one that comes fifth, here.
    writer = ModelWriter(model, plain_tokenizer, spec_of(temperature=0.0), seed=0)
    ids = plain_tokenizer(QUESTIONS[0])["input_ids"]
    (whole,) = writer.complete([ids], [(0, 0)], silent)
    assert not whole.finished
    assert whole.tokens == len(whole.token_ids) == 12
    writer.end_ids = (whole.token_ids[4],)
    (ended,) = writer.complete([ids], [(0, 0)], silent)
    place = whole.token_ids.index(whole.token_ids[4])
    assert ended.finished
    assert ended.token_ids == whole.token_ids[: place + 1]
    assert ended.tokens == place


def test_the_model_keeps_its_mode_and_settings(model: LlamaForCausalLM, writer: ModelWriter) -> None:
    settings = model.generation_config
    model.train()
    try:
        writer.write(asks()[:1], silent)
        assert model.training
        assert model.generation_config is settings
    finally:
        model.eval()


def test_settings_that_came_with_the_model_play_no_part(
    model: LlamaForCausalLM, plain_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ModelWriter(model, plain_tokenizer, spec_of(temperature=0.0), seed=0)
    plain = writer.write(asks(), silent)
    monkeypatch.setattr(
        model, "generation_config", GenerationConfig(repetition_penalty=5.0, min_new_tokens=3, num_beams=2)
    )
    assert writer.write(asks(), silent) == plain


def test_a_prompt_that_leaves_no_room_says_so(writer: ModelWriter) -> None:
    short, long = writer.write(asks(1, "the", "0 1 2 3 " * 40), silent)
    assert short.fault is None
    assert (long.fault, long.text, long.finished) == ("prompt_too_long", "", False)


def test_writing_stops_in_the_middle_of_a_batch(writer: ModelWriter) -> None:
    calls = []

    def third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        writer.write(asks(), third)
    assert len(calls) == 3


def test_a_batch_that_does_not_fit_is_written_in_halves(
    writer: ModelWriter, model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = writer.write(asks(), silent)
    generate, sizes = model.generate, []

    def cramped(ids: torch.Tensor, **settings: object) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return generate(ids, **settings)

    monkeypatch.setattr(model, "generate", cramped)
    assert writer.write(asks(), silent) == whole
    assert sizes == [4, 2, 1, 1, 2, 1, 1]


def test_conversations_and_system_prompts_go_through_the_template(
    model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    writer = ModelWriter(model, chat_tokenizer, spec_of(system_prompt="be brief"), seed=0)
    asked = Prompt(0, messages=({"role": "user", "content": "the sum"},))
    own = Prompt(1, messages=({"role": "system", "content": "be long"}, {"role": "user", "content": "the sum"}))
    read = [chat_tokenizer.decode(writer.encoder.ids(prompt)) for prompt in (asked, own, Prompt(2, "the sum"))]
    assert read[0] == read[2] == "<|system|>be brief<|end|><|user|>the sum<|end|><|assistant|>"
    assert read[1] == "<|system|>be long<|end|><|user|>the sum<|end|><|assistant|>"


@pytest.mark.parametrize(("chat", "rendered"), [(None, True), (True, True), (False, False)])
def test_whether_a_plain_prompt_is_a_message_can_be_said(
    model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, chat: bool | None, rendered: bool
) -> None:
    writer = ModelWriter(model, chat_tokenizer, spec_of(chat=chat), seed=0)
    assert ("<|user|>" in chat_tokenizer.decode(writer.encoder.ids(Prompt(0, "two")))) == rendered


def test_a_conversation_needs_a_template(writer: ModelWriter) -> None:
    with pytest.raises(ChatTemplateUnusable, match="no chat template"):
        writer.write([Ask(Prompt(0, messages=({"role": "user", "content": "two"},)), 0)], silent)
