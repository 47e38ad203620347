"""Tokens with their log-probabilities, as OpenAI's two kinds of answer spell them."""

from collections.abc import Iterable, Sequence

from core.serving import Likely, Token
from service.inference.schemas import ChatLogprobs, TextLogprobs, TokenLogprob, TopLogprob


class Spelling:
    """How tokens are written: as text, or as their place in the vocabulary."""

    def __init__(self, *, as_ids: bool, part_mark: str) -> None:
        self.as_ids, self.part_mark = as_ids, part_mark

    def __call__(self, token: Likely) -> str:
        """Return the token's text; a token that is a part of a character is written as its bytes."""
        if self.as_ids:
            return f"token_id:{token.id}"
        written = bytes(token.bytes)
        try:
            return written.decode()
        except UnicodeDecodeError:
            return self.part_mark + "".join(f"\\x{byte:02x}" for byte in written)


def chat_logprobs(tokens: Iterable[Token], *, as_ids: bool) -> ChatLogprobs:
    spelled = Spelling(as_ids=as_ids, part_mark="")
    return ChatLogprobs(
        content=[
            TokenLogprob(
                token=spelled(token),
                logprob=_known(token),
                bytes=list(token.bytes),
                top_logprobs=[
                    TopLogprob(token=spelled(other), logprob=_known(other), bytes=list(other.bytes))
                    for other in token.top
                ],
            )
            for token in tokens
        ]
    )


def text_logprobs(tokens: Sequence[Token], offset: int, *, as_ids: bool, has_top: bool) -> TextLogprobs:
    """`offset` is where the first token stands in the answer's text, in characters."""
    spelled = Spelling(as_ids=as_ids, part_mark="bytes:")
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    top = [{spelled(other): _known(other) for other in token.top} or None for token in tokens]
    return TextLogprobs(
        tokens=[spelled(token) for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=top if has_top else None,
        text_offset=offsets,
    )


def _known(token: Likely) -> float:
    assert token.logprob is not None, "only the first token of a prompt has none"
    return token.logprob
