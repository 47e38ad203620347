"""Chats as pieces of text, by a tokenizer's own template: which pieces the assistant wrote, and which were given."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from core.chats import Message
from core.errors import ChatTemplateUnusable
from worker.training.generation.reasoning import BEGIN, END

STAND_IN = "The answer stands here."


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is tokenized by itself, as it is when a model goes on from where the prompt ends."""

    text: str
    is_learned: bool
    is_closed: bool = False
    """True where the end-of-text token follows, and is learned like the piece."""


def chat_pieces(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str) -> list[Piece]:
    """Cut a chat into pieces; the assistant's turns are learned up to and with the token that ends them.

    What comes after the last of the assistant's turns is left out. `name` is the model's, for errors.

    Raises:
        ChatTemplateUnusable: there is no template, it fails, or it writes earlier turns otherwise in longer chats.
    """
    pieces: list[Piece] = []
    written = ""
    end = str(tokenizer.eos_token) if tokenizer.eos_token else None
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = chat_prompt(messages[:place], tokenizer, name) if place else ""
        after = _rendered(messages[: place + 1], tokenizer, name, is_prompt=False)
        if not before.startswith(written) or not after.startswith(before):
            raise ChatTemplateUnusable(name, "its chat template writes earlier turns otherwise in longer chats")
        turn = after[len(before) :]
        ends_at = turn.rfind(end) + len(end) if end and end in turn else -1
        learned = turn[:ends_at] if ends_at > 0 else turn.rstrip()
        pieces += [
            Piece(before[len(written) :], is_learned=False),
            Piece(learned, is_learned=True, is_closed=ends_at < 0 and place == last),
        ]
        written = before + learned
    return pieces


def asked_pieces(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str) -> list[Piece]:
    """Cut a chat, up to where the assistant writes its last turn (or its next, where others spoke last), as
    `chat_pieces` cuts the same turns.

    Raises:
        ChatTemplateUnusable: as `chat_pieces`.
    """
    turns = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    if not turns:
        return []
    pieces = [Piece(piece.text, is_learned=False) for piece in chat_pieces(turns, tokenizer, name)]
    written, whole = "".join(piece.text for piece in pieces), chat_prompt(turns, tokenizer, name)
    if not whole.startswith(written):
        raise ChatTemplateUnusable(name, "its chat template writes earlier turns otherwise in longer chats")
    return [*pieces, Piece(whole[len(written) :], is_learned=False)]


def answer_pieces(
    messages: Sequence[Message], answer: str, tokenizer: PreTrainedTokenizerBase, name: str
) -> list[Piece]:
    """Cut a conversation and the assistant's answer to it; the answer alone is learned, with the token that ends it.

    The answer stands as it was written where the template has the assistant begin: templates that trim turns, or drop
    the thoughts from them, would have the student learn another text. Where the template writes <think> itself, the
    answer's own is left out.

    Raises:
        ChatTemplateUnusable: there is no template, or it fails.
    """
    given = chat_prompt(messages, tokenizer, name)
    if given.rstrip().endswith(BEGIN):
        answer = answer.removeprefix(BEGIN).lstrip("\n")
    elif END in answer and BEGIN not in answer:
        answer = f"{BEGIN}\n{answer}"
    whole = _rendered([*messages, {"role": "assistant", "content": STAND_IN}], tokenizer, name, is_prompt=False)
    tail, end = whole.rpartition(STAND_IN)[2], str(tokenizer.eos_token) if tokenizer.eos_token else None
    ending = tail[: tail.index(end) + len(end)] if end and end in tail else ""
    return [Piece(given, is_learned=False), Piece(answer + ending, is_learned=True, is_closed=not ending)]


def chat_prompt(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str) -> str:
    """Return the text after which a model writes the assistant's next turn.

    Raises:
        ChatTemplateUnusable: there is no template, or it fails.
    """
    return _rendered(messages, tokenizer, name, is_prompt=True)


def _rendered(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, name: str, *, is_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise ChatTemplateUnusable(name, "its tokenizer has no chat template")
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=is_prompt))
    except Exception as error:
        raise ChatTemplateUnusable(name, f"its chat template refuses them: {error}") from error
