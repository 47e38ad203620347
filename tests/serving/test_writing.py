"""What is told while a model writes: the truth about each token, whatever shapes the choice.

Legend: T positions, V vocabulary.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from core.methods import GenerationSpec
from core.serving import (
    ContextExceeded,
    End,
    Line,
    Piece,
    PromptAsk,
    PromptEmpty,
    PromptLine,
    ServedModel,
    TokenUnknown,
    WriteAsk,
)
from serving import reading
from serving.loading import Writer
from serving.writing import write

MODEL = ServedModel(key="m", name="m", files=())


def spec(**changes: Any) -> GenerationSpec:
    return GenerationSpec.model_validate({"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 10, "seed": 4, **changes})


def lines_of(writer: Writer, *prompts: str, ids: tuple[int, ...] | None = None, **changes: Any) -> list[Line]:
    asked = tuple(PromptAsk(text=prompt) for prompt in prompts) or (PromptAsk(ids=ids),)
    told: list[Line] = []
    ask = WriteAsk(model=MODEL, prompts=asked, **{"generation": spec(), **changes})
    write(writer, ask, told.append, lambda: None)
    return told


def ends(lines: list[Line]) -> dict[int, End]:
    return {line.choice: line for line in lines if isinstance(line, End)}


def texts(lines: list[Line]) -> dict[int, str]:
    found: dict[int, str] = {}
    for line in lines:
        if isinstance(line, Piece):
            found[line.choice] = found.get(line.choice, "") + line.text
    return found


@torch.inference_mode()
def logprobs_of(writer: Writer, ids: list[int]) -> Tensor:
    """What the model expects after each token [T, V], read in one go."""
    model: Any = writer.model
    logprobs_TV: Tensor = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return logprobs_TV


def test_log_probabilities_are_the_models_own_whatever_shapes_the_choice(writer: Writer) -> None:
    shaped = spec(temperature=1.7, top_k=9, repetition_penalty=1.3, samples_per_prompt=2)
    lines = lines_of(writer, "Count from one:", generation=shaped, logprobs=3, frequency_penalty=0.5)
    prompt = next(line for line in lines if isinstance(line, PromptLine))
    for choice, end in ends(lines).items():
        tokens = [token for line in lines if isinstance(line, Piece) and line.choice == choice for token in line.tokens]
        logprobs_TV = logprobs_of(writer, [*prompt.ids, *end.ids])[len(prompt.ids) - 1 :]
        assert [token.id for token in tokens] == list(end.ids)
        for token, logprobs_V in zip(tokens, logprobs_TV, strict=False):
            assert token.logprob == pytest.approx(float(logprobs_V[token.id]), abs=1e-4)
            best = logprobs_V.topk(3)
            assert [other.id for other in token.top] == best.indices.tolist()
            assert [other.logprob for other in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_prompts_written_together_are_written_as_each_alone(writer: Writer) -> None:
    prompts = ("Count", "Count from two: three", " one")
    together = lines_of(writer, *prompts)
    alone = [lines_of(writer, prompt) for prompt in prompts]
    assert texts(together) == {place: texts(lines).get(0, "") for place, lines in enumerate(alone)}
    assert [ends(together)[place].ids for place in range(3)] == [ends(lines)[0].ids for lines in alone]


def test_more_choices_than_are_written_at_once_all_end_and_the_first_stay_what_they_were(writer: Writer) -> None:
    many = lines_of(writer, "Count", generation=spec(temperature=1.0, samples_per_prompt=11, max_new_tokens=3))
    few = lines_of(writer, "Count", generation=spec(temperature=1.0, samples_per_prompt=2, max_new_tokens=3))
    assert sorted(ends(many)) == list(range(11))
    assert [ends(many)[place].ids for place in (0, 1)] == [ends(few)[place].ids for place in (0, 1)]


def test_a_stop_ends_a_choice_and_is_not_in_its_text(writer: Writer) -> None:
    whole = texts(lines_of(writer, "Count from one:"))[0]
    stop = whole[3:5]
    lines = lines_of(writer, "Count from one:", generation=spec(stop=(stop,)))
    assert texts(lines).get(0, "") == whole[: whole.index(stop)]
    assert ends(lines)[0].reason == "stop"


def test_a_token_that_ends_a_text_is_neither_told_nor_counted(writer: Writer) -> None:
    first = ends(lines_of(writer, "Count from one:"))[0].ids
    ending = Writer(writer.model, writer.tokenizer, end_ids=(first[4],))
    lines = lines_of(ending, "Count from one:", logprobs=0)
    assert ends(lines)[0].ids == first[: first.index(first[4])]
    assert ends(lines)[0].reason == "stop"
    assert sum(len(line.tokens) for line in lines if isinstance(line, Piece)) == len(ends(lines)[0].ids)


def test_the_penalties_keep_tokens_from_coming_again(writer: Writer) -> None:
    plain = ends(lines_of(writer, "Count", generation=spec(max_new_tokens=40)))[0].ids
    varied = ends(lines_of(writer, "Count", generation=spec(max_new_tokens=40), presence_penalty=50.0))[0].ids
    assert len(set(plain)) < len(plain)
    assert len(set(varied)) == len(varied)


def test_a_prompts_own_tokens_are_told_as_one_reading_gives_them(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READ_AT_ONCE", 4)
    ids = tuple(writer.tokenizer("Count from one: two three four")["input_ids"])
    (line,) = lines_of(writer, ids=ids, generation=None, echo=True, logprobs=2)
    assert isinstance(line, PromptLine)
    assert [token.id for token in line.tokens] == list(ids)
    assert line.tokens[0].logprob is None
    logprobs_TV = logprobs_of(writer, list(ids))
    expected = [float(logprobs_TV[place, token]) for place, token in enumerate(ids[1:])]
    assert [token.logprob for token in line.tokens[1:]] == pytest.approx(expected, abs=1e-4)
    likeliest = logprobs_TV[:-1].argmax(-1).tolist()
    assert [token.top[0].id for token in line.tokens[1:]] == likeliest


def test_a_prompt_that_leaves_no_room_is_refused_or_what_is_written_is_shortened(writer: Writer) -> None:
    ids = tuple(3 for _ in range(124))
    with pytest.raises(ContextExceeded, match="124 tokens of prompt and 10 to write are more than the model's 128"):
        lines_of(writer, ids=ids)
    assert len(ends(lines_of(writer, ids=ids, shorten=True))[0].ids) == 4
    with pytest.raises(ContextExceeded):
        lines_of(writer, ids=tuple(3 for _ in range(128)), shorten=True)


def test_what_is_no_prompt_is_refused(writer: Writer, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TokenUnknown):
        lines_of(writer, ids=(len(tokenizer),))
    with pytest.raises(PromptEmpty):
        lines_of(writer, "")


def test_who_listens_no_more_ends_the_writing_at_the_next_token(writer: Writer) -> None:
    told: list[Line] = []

    def tell(line: Line) -> None:
        told.append(line)
        if len(told) == 3:
            raise ConnectionError

    ask = WriteAsk(model=MODEL, prompts=(PromptAsk(text="Count"),), generation=spec(), logprobs=0)
    with pytest.raises(ConnectionError):
        write(writer, ask, tell, lambda: None)
    assert len(told) == 3
