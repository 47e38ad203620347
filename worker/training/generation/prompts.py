"""From a prompt to what a model reads."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from core.errors import ChatTemplateUnusable
from worker.training.generation.samples import Message, Prompt

WRITING_MODEL = "the model that writes"


def conversation(prompt: Prompt, system_prompt: str | None) -> list[Message]:
    """Return the turns of a prompt; `system_prompt` leads them unless the conversation has its own."""
    turns: list[Message] = list(prompt.messages or ({"role": "user", "content": prompt.text or ""},))
    if system_prompt is not None and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": system_prompt})
    return turns


class PromptEncoder:
    """Turns prompts into token ids, through the chat template where a conversation is meant.

    A conversation always goes through the template, a plain text where `chat` says so. With `chat` left open a plain
    text does so too where the tokenizer has a template or a system prompt is given: a model that was trained to answer
    rambles when it meets a bare question.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system_prompt: str | None, chat: bool | None) -> None:
        self.tokenizer, self.system_prompt = tokenizer, system_prompt
        has_template = tokenizer.chat_template is not None
        self.chat = chat if chat is not None else has_template or system_prompt is not None

    def ids(self, prompt: Prompt) -> list[int]:
        """Return the token ids of a prompt, up to where the answer begins.

        Raises:
            ChatTemplateUnusable: a conversation, and the tokenizer has no chat template or it refuses the turns.
        """
        if prompt.text is not None and not self.chat:
            return self._plain(prompt.text)
        return self._rendered(conversation(prompt, self.system_prompt), prompt.index)

    def _plain(self, text: str) -> list[int]:
        """Tokenize without the token that some tokenizers put behind a text: what follows is the completion."""
        ids: list[int] = list(self.tokenizer(text)["input_ids"])
        while ids and ids[-1] == self.tokenizer.eos_token_id and not text.endswith(str(self.tokenizer.eos_token)):
            ids.pop()
        return ids

    def _rendered(self, turns: Sequence[Message], index: int) -> list[int]:
        if self.tokenizer.chat_template is None:
            raise ChatTemplateUnusable(WRITING_MODEL, "its tokenizer has no chat template")
        try:
            rendered = self.tokenizer.apply_chat_template(
                [dict(turn) for turn in turns], add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template is a program of its author's and raises what it likes
            raise ChatTemplateUnusable(WRITING_MODEL, f"its template refuses example {index:,}: {error}") from error
        return list(self.tokenizer(str(rendered), add_special_tokens=False)["input_ids"])
