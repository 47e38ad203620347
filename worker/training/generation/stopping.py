"""When a text ends before its number of tokens is used up.

Shapes: B sequences, T positions.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria

TOKENS_BESIDE_A_STOP = 4


def cut_at(text: str, stops: Sequence[str]) -> str | None:
    """Return the text before the first stop, or None where there is none."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


class StopTexts(StoppingCriteria):
    """Ends a sequence once one of the texts stands in what was written; a match never reaches into the prompt.

    `ended_at` holds for each sequence how many tokens had been written then. Only the last tokens are read again, as
    many as the longest stop has bytes: a token is at least one.
    """

    def __init__(self, stops: Sequence[str], tokenizer: PreTrainedTokenizerBase, prompt_width: int, rows: int) -> None:
        self.stops, self.tokenizer, self.prompt_width = stops, tokenizer, prompt_width
        self.ended_at: list[int | None] = [None] * rows
        self.tail = max(len(stop.encode()) for stop in stops) + TOKENS_BESIDE_A_STOP

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        written = input_ids.shape[1] - self.prompt_width
        tails = input_ids[:, -min(self.tail, written) :].tolist()
        for row, ids in enumerate(tails):
            if self.ended_at[row] is None:
                text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                if any(stop in text for stop in self.stops):
                    self.ended_at[row] = written
        return torch.tensor([ended is not None for ended in self.ended_at], device=input_ids.device)


class EachToken(StoppingCriteria):
    """Ends nothing, but calls at each token: the job may be asked to stop in the middle of a long batch."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        self.call()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
