"""Who writes: each prompt's own teacher, asked as it chats, from the seed of generation before that of training."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from core.methods import GenerationSpec
from core.spec import JobSpec
from tests.worker.training.conftest import Notebook
from tests.worker.training.language.conftest import bpe, llama, spec_of
from worker.training.desk import Desk
from worker.training.generation.samples import Ask, Prompt, Sample
from worker.training.generation.writer import ModelWriter
from worker.training.language.writers import Author, asks_as_chat, one_writer, writer_for
from worker.training.models import Loaded


class Named:
    """Writes its own name."""

    def __init__(self, name: str, *, is_batched: bool = True) -> None:
        self.name, self.is_batched = name, is_batched

    def prompt_tokens(self, prompt: Prompt) -> int:
        return len(self.name)

    def write(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> list[Sample]:
        return [Sample(*ask.key, self.name, 1, 1, True) for ask in asks]

    def pieces(self, asks: Sequence[Ask], each_token: Callable[[], None]) -> Generator[Sequence[Sample], None, None]:
        yield self.write(asks, each_token)


def test_each_prompt_is_its_teachers() -> None:
    writer = one_writer([Author(name, Named(name), True) for name in ("first", "second one")])
    for name in ("first", "second one"):
        prompt = Prompt(0, "x", teacher=name)
        assert writer.prompt_tokens(prompt) == len(name)
        assert [sample.text for sample in writer.write([Ask(prompt, 0)], lambda: None)] == [name]
        assert [sample.text for some in writer.pieces([Ask(prompt, 1)], lambda: None) for sample in some] == [name]


@pytest.mark.parametrize("are_batched", [(True, True), (True, False), (False, False)])
def test_texts_are_handed_over_all_at_once_where_no_writer_wants_batches(are_batched: tuple[bool, bool]) -> None:
    authors = [Author(f"{n}", Named(f"{n}", is_batched=one), True) for n, one in enumerate(are_batched)]
    assert one_writer(authors).is_batched is any(are_batched)


def test_one_teacher_needs_no_name() -> None:
    alone = Named("alone")
    assert one_writer([Author("alone", alone, False)]) is alone


@pytest.mark.parametrize(
    ("written", "has_template", "is_chat"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"chat": False}, True, False),
        ({"system_prompt": "Be brief."}, False, True),
    ],
)
def test_a_plain_prompt_is_a_message_where_the_teacher_chats(
    written: dict[str, object], has_template: bool, is_chat: bool
) -> None:
    tokenizer = bpe(["one"]) if has_template else bpe(["one"], template=None)
    assert asks_as_chat(GenerationSpec.model_validate(written), tokenizer) == is_chat


@pytest.mark.parametrize(("own", "seed"), [(None, 7), (3, 3)])
def test_the_seed_is_generations_or_trainings(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, own: int | None, seed: int
) -> None:
    spec: JobSpec = spec_of(method={"type": "sequence", "generation": {"seed": own}}, training={"seed": 7})
    author = writer_for(Desk(spec, tmp_path, Notebook()), "t", Loaded(llama(), tokenizer, frozenset()))
    assert isinstance(author.writer, ModelWriter)
    assert author.writer.seed == seed
    assert author.engine == author.writer.engine.name == "transformers", "a single text is not worth a conversion"
