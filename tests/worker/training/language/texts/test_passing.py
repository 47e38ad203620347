"""How often a model is right: asked once, at temperature 0, of held-out prompts whose answer is known."""

from collections.abc import Callable, Sequence

import pytest

from core.methods import GenerationSpec, SequenceMethod
from worker.training.generation.samples import Ask, Part, Prompt, Sample
from worker.training.language.texts.passing import VERIFIED, likeliest, pass_rate, verified_prompts

METHOD = SequenceMethod.model_validate({"filters": {"verifier": {"type": "numeric"}}, "generation": {"batch_size": 3}})


class Adder:
    """Adds rightly below ten, and wrongly above."""

    def prompt_tokens(self, prompt: Prompt) -> int:
        return len(prompt.text or "")

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        assert len(asks) <= METHOD.generation.batch_size
        each_token()
        sums = [min(9, sum(map(int, (ask.prompt.text or "").split("+")))) for ask in asks]
        return [Sample(*ask.key, f"I say {total}.", 3, 4, True) for ask, total in zip(asks, sums, strict=True)]


def asked(number: int, part: Part = "test", answer: str | None = None) -> Prompt:
    return Prompt(number, f"1+{number}", answer=answer or str(1 + number), part=part)


def test_the_share_of_right_answers() -> None:
    looks: list[int] = []
    assert pass_rate(METHOD, Adder(), [asked(number) for number in range(16)], lambda: looks.append(1)) == 9 / 16
    assert len(looks) == 6
    assert pass_rate(METHOD, Adder(), [], lambda: None) is None


def test_only_held_out_prompts_with_an_answer_count() -> None:
    prompts = [asked(1), asked(2, "train"), asked(3, "validation"), asked(4, answer=" ")]
    assert [prompt.index for prompt in verified_prompts(METHOD, prompts, "test")] == [1]
    assert [prompt.index for prompt in verified_prompts(METHOD, prompts, "validation")] == [3]
    assert len(verified_prompts(METHOD, [asked(number) for number in range(500)], "test")) == VERIFIED
    assert verified_prompts(SequenceMethod(), prompts, "test") == []
    schema = {"verifier": {"type": "json_schema", "json_schema": {"type": "object"}}}
    free = SequenceMethod.model_validate({"filters": schema})
    assert [prompt.index for prompt in verified_prompts(free, prompts, "test")] == [1, 4]


@pytest.mark.parametrize("is_teacher", [True, False])
def test_a_student_is_asked_without_the_teachers_orders(is_teacher: bool) -> None:
    spec = GenerationSpec.model_validate({"system_prompt": "Think.", "samples_per_prompt": 4, "temperature": 1.0})
    asked_so = likeliest(spec, is_teacher=is_teacher, is_chat=True)
    assert (asked_so.temperature, asked_so.samples_per_prompt, asked_so.chat) == (0.0, 1, True)
    assert asked_so.system_prompt == ("Think." if is_teacher else None)
