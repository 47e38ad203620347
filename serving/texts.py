"""A text while it grows: whole characters only, and nothing that may yet turn out to be where it stops."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

BEFORE_TOKENS = 8
"""How much of the prompt is decoded along: alone, some tokenizers drop the space that a text begins with."""
HALF_A_CHARACTER = "\ufffd"

Decode = Callable[[Sequence[int]], str]


def decoder(tokenizer: PreTrainedTokenizerBase) -> Decode:
    """Return what turns ids into text, special tokens left out and nothing else tidied up."""
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class GrowingText:
    """Takes token by token, and gives out what is certain. What was given out is never taken back.

    Only the tokens since the last whole character are decoded again, together with those before that they may lean on
    (as in vLLM's and text-generation-inference's detokenizers).
    """

    def __init__(self, decode: Decode, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self.decode, self.stops = decode, stops
        self.ids = list(prompt[-BEFORE_TOKENS:])
        self.start, self.read = 0, len(self.ids)
        self.held = ""
        self.is_stopped = False
        """Whether one of the stops stands in the text; it and what follows were left out."""

    def add(self, token: int) -> str:
        """Return the text that is certain now."""
        self.ids.append(token)
        fresh = self._fresh()
        if fresh.endswith(HALF_A_CHARACTER):
            return ""
        # Some tokens have no text of their own: what follows them still leans on what was before.
        if fresh:
            self.start, self.read = self.read, len(self.ids)
        return self._certain(self.held + fresh)

    def rest(self) -> str:
        """Return what was held back, at the end of the text."""
        if self.is_stopped:
            return ""
        text = self._certain(self.held + self._fresh())
        self.read = len(self.ids)
        held, self.held = self.held, ""
        return text + held

    def _fresh(self) -> str:
        before, whole = self.decode(self.ids[self.start : self.read]), self.decode(self.ids[self.start :])
        return whole[len(before) :]

    def _certain(self, text: str) -> str:
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.is_stopped, self.held = True, ""
            return text[: min(places)]
        kept = max((_overlap(text, stop) for stop in self.stops), default=0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """Return how many of the text's last characters a stop may begin with."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
