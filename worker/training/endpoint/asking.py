"""OpenAI's protocol: what is sent for one text, and what an answer says."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.endpoints import EndpointSpec
from core.likeliest import TOKENS_AS_IDS, Place, places_of
from core.methods import GenerationSpec
from worker.training.endpoint.line import Reply
from worker.training.generation.prompts import conversation
from worker.training.generation.samples import Ask

CHAT, PLAIN = "chat/completions", "completions"
ENDED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
WITHHELD = frozenset({"content_filter", "tool_calls", "function_call"})
MOST_SAID = 300
"""Characters of a server's own words that are repeated."""

TOKENS_OF_A_REQUEST, TOKENS_OF_A_TURN = 256, 16
"""What a chat template may put around all turns (a system prompt of its own, at most) and around each of them."""


@dataclass(frozen=True)
class Manner:
    """What a server wants said in its own way; found out by the first question."""

    limit: str = "max_tokens"
    has_seed: bool = True
    has_token_ids: bool = True
    """Whether it is asked to write tokens as their ids, where logprobs are wanted: vLLM does, and this service."""

    def after(self, refusal: str) -> "Manner | None":
        """Return the manner that may please a server that refused with these words, or None where none is left."""
        if self.limit == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, limit="max_completion_tokens")
        if self.has_token_ids and TOKENS_AS_IDS in refusal:
            return replace(self, has_token_ids=False)
        if self.has_seed and "seed" in refusal:
            return replace(self, has_seed=False)
        return None


@dataclass(frozen=True)
class Question:
    """A request for one text: where it goes, what it says, and the most tokens that it can use."""

    path: str
    body: Mapping[str, Any]
    prompt_tokens: int
    completion_tokens: int


def question_of(ask: Ask, spec: GenerationSpec, endpoint: EndpointSpec, seed: int, manner: Manner) -> Question:
    """Return the request for a text. A plain prompt is a user's message unless `generation.chat` is false."""
    turns = [dict(turn) for turn in conversation(ask.prompt, spec.system_prompt)]
    path, texts = CHAT, [turn["content"] for turn in turns]
    asked: dict[str, Any] = {"messages": turns}
    if ask.prompt.text is not None and spec.chat is False:
        path, texts = PLAIN, [ask.prompt.text]
        asked = {"prompt": ask.prompt.text}
    body = {"model": endpoint.model, **asked, manner.limit: spec.max_new_tokens, **_sampling(spec)}
    if endpoint.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": endpoint.logprobs}
        body |= {TOKENS_AS_IDS: True} if manner.has_token_ids else {}
    if manner.has_seed and spec.temperature > 0:
        body["seed"] = seed_of(seed, ask)
    return Question(path, body, most_tokens(texts), spec.max_new_tokens)


def _sampling(spec: GenerationSpec) -> dict[str, Any]:
    """Return what shapes the samples. Beyond OpenAI's own, only what was asked for: a vendor refuses what it does not
    know, and that is better than to ignore it."""
    own = {"top_k": spec.top_k, "min_p": spec.min_p, "stop": list(spec.stop) or None}
    if spec.repetition_penalty != 1.0:
        own["repetition_penalty"] = spec.repetition_penalty
    shaped = {"temperature": spec.temperature, "top_p": spec.top_p}
    return {**shaped, **{name: value for name, value in own.items() if value is not None}}


def seed_of(seed: int, ask: Ask) -> int:
    """Return a sample's own seed, of 31 bits: more than that some servers refuse."""
    digest = hashlib.blake2b(f"{seed}:{ask.prompt.index}:{ask.sample}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def most_tokens(texts: list[str]) -> int:
    """Return more tokens than any tokenizer makes of the texts: each holds at least one byte."""
    return TOKENS_OF_A_REQUEST + sum(len(text.encode()) + TOKENS_OF_A_TURN for text in texts)


@dataclass(frozen=True)
class Answer:
    """What a server wrote. Its own counts of tokens are None where it gives none that can be."""

    text: str
    finished: bool
    withheld: str | None
    """Why there is no text to learn from, such as `content_filter`."""
    prompt_tokens: int | None
    completion_tokens: int | None
    places: tuple[Place, ...] = ()
    """The likeliest tokens at each place of the text, where they were asked for and told with their ids."""


def answer_of(reply: Reply) -> Answer | None:
    """Read a completion, of chats or of plain prompts. None where it is none."""
    try:
        choice = reply.content["choices"][0]
        message = choice.get("message") or {}
        written = message["content"] if "message" in choice else choice["text"]
        if not isinstance(written, str | None):
            return None
        reason = choice.get("finish_reason")
        withheld = reason if reason in WITHHELD else "refusal" if message.get("refusal") else None
        if written is None and withheld is None and not _thoughts(message):
            return None
        usage = reply.content.get("usage")
        text = _with_thoughts(message, written or "")
        prompt, completion = _count(usage, "prompt_tokens", 1), _count(usage, "completion_tokens", 1 if text else 0)
        return Answer(text, reason in ENDED, withheld, prompt, completion, places_of(choice))
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def _thoughts(message: Mapping[str, Any]) -> str:
    """Return what a server that takes reasoning out of the text calls by one of two names."""
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    return thoughts if isinstance(thoughts, str) else ""


def _with_thoughts(message: Mapping[str, Any], text: str) -> str:
    """Put reasoning back to where the model wrote it, as DeepSeek-R1 does (arXiv:2501.12948, table 1)."""
    thoughts = _thoughts(message)
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{text}" if thoughts.strip() else text


def _count(usage: Any, name: str, least: int) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= least else None


def words_of(reply: Reply) -> str:
    """Return a server's own words about what went wrong."""
    said: Any = reply.content
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    text = said if isinstance(said, str) and said else reply.text
    return f"{reply.status} {' '.join(text.split())[:MOST_SAID]}".strip()
