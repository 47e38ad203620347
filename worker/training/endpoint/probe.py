"""The first question to a server: is it there, does it know the model, does it take what the job asks for."""

from typing import Any

from core.endpoints import EndpointSpec, NoLogprobs, TeacherRefused
from core.methods import GenerationSpec
from worker.training.endpoint.asking import Answer, Manner, question_of
from worker.training.endpoint.calls import OVER_BUDGET, Caller, Failure
from worker.training.endpoint.line import Line, NoReply
from worker.training.endpoint.tolerance import given_up
from worker.training.generation.samples import Ask, Prompt

FIRST_QUESTION = Ask(Prompt(0, "Say: ready."), 0)
MOST_TOKENS = 16
"""One would do, but a model that reasons says nothing within one, and some servers call that an error."""
MOST_NAMES = 10


async def found_manner(caller: Caller, endpoint: EndpointSpec, generation: GenerationSpec, seed: int) -> Manner:
    """Ask for one short text, and return how this server wants to be asked. An empty budget asks nothing.

    Raises:
        TeacherUnreachable: no answer, after all retries.
        TeacherRefused: an answer, but no text; in the server's words.
        NoLogprobs: a text, without the likeliest tokens that were asked for.
    """
    short = generation.model_copy(update={"max_new_tokens": min(MOST_TOKENS, generation.max_new_tokens)})
    manner = Manner()
    while True:
        found = await caller.answer(question_of(FIRST_QUESTION, short, endpoint, seed, manner))
        if isinstance(found, Answer):
            if endpoint.logprobs is not None and found.text and not found.places:
                raise NoLogprobs(caller.line.name, "its answer has none, or has them without the ids of the tokens")
            return manner
        if found is OVER_BUDGET:
            return manner
        other = manner.after(found.detail) if found.reason == "refused" else None
        if other is None:
            raise await _refused(caller.line, found)
        manner = other


async def _refused(line: Line, failure: Failure) -> Exception:
    if failure.status not in (400, 404, 422):
        return given_up(line.name, failure)
    names = await _names_of_models(line)
    told = f"; it serves {', '.join(names[:MOST_NAMES])}" if names else ""
    hint = "; base_url often ends in /v1" if failure.status == 404 and not names else ""
    return TeacherRefused(line.name, f"{failure.detail}{told}{hint}")


async def _names_of_models(line: Line) -> list[str]:
    """Return what the server says that it serves; many say nothing."""
    try:
        reply = await line.get("models")
        listed: Any = reply.content["data"] if reply.status == 200 else []
        return [str(model["id"])[:100] for model in listed]
    except (NoReply, KeyError, TypeError):
        return []
