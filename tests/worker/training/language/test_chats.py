"""An answer is learned as it was written, behind the prompt, and ends as the template ends a turn."""

import pytest
from transformers import PreTrainedTokenizerFast

from tests.worker.training.language.conftest import bpe
from worker.training.language.chats import answer_pieces, chat_pieces

ASKED = [{"role": "user", "content": "count"}]
THINKS = (
    "{% for message in messages %}<|start|>{{ message.role }}\n"
    "{{ message.content.split('</think>')[-1] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n<think>\n{% endif %}"
)


def said(tokenizer: PreTrainedTokenizerFast, answer: str) -> tuple[str, str, bool]:
    given, learned = answer_pieces(ASKED, answer, tokenizer, "m")
    assert (given.is_learned, learned.is_learned) == (False, True)
    return given.text, learned.text, learned.is_closed


def test_an_answer_stands_behind_the_prompt_and_ends_like_a_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    given, learned, is_closed = said(tokenizer, "one two")
    assert (given, learned, is_closed) == ("<|start|>user\ncount<|end|>\n<|start|>assistant\n", "one two<|end|>", False)
    chat = [*ASKED, {"role": "assistant", "content": "one two"}]
    assert [piece.text for piece in chat_pieces(chat, tokenizer, "m")] == [given, learned]


def test_earlier_answers_are_given_and_not_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    earlier = [*ASKED, {"role": "assistant", "content": "zero"}, *ASKED]
    given, learned = answer_pieces(earlier, "one", tokenizer, "m")
    assert "zero" in given.text
    assert learned.text == "one<|end|>"


@pytest.mark.parametrize("answer", ["<think>\nhm\n</think>\n\n one ", " one", "hm</think>one"])
def test_a_template_that_trims_or_forgets_thoughts_changes_nothing_of_the_answer(answer: str) -> None:
    thinking = bpe(["count one"], template=THINKS)
    given, learned, _ = said(thinking, answer)
    assert given.endswith("<think>\n")
    assert f"{given}{learned}".removesuffix("<|end|>").endswith(answer.removeprefix("<think>\n"))
    assert learned.count("<think>") == 0


def test_thoughts_whose_beginning_stood_in_the_teachers_prompt_get_one(tokenizer: PreTrainedTokenizerFast) -> None:
    assert said(tokenizer, "hm</think>one")[1] == "<think>\nhm</think>one<|end|>"


def test_without_an_end_in_the_template_the_end_of_text_is_learned() -> None:
    bare = bpe(["count one"], template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ")
    assert said(bare, "one") == ("user: count\nassistant: ", "one", True)
