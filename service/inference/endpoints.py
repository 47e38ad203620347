"""`/v1/chat/completions` and `/v1/completions`: a language model writes, in the shapes of OpenAI's API."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from core.errors import DistillError
from core.models import Models
from core.serving import ServedModel, WriteAsk
from service.deps import CallerDep, Service, ServiceDep
from service.inference.answers import Heading, Written, chat_completion, completion, written
from service.inference.lookup import answerable, refused, writer_of
from service.inference.schemas import (
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionRequest,
    Sampling,
)
from service.inference.stream import ChatChunks, Chunks, TextChunks, stream_of
from service.openapi import problems
from service.serving.listening import while_listened_to
from service.strict import StrictRoute

router = APIRouter(prefix="/v1", tags=["inference"], route_class=StrictRoute, responses=problems(404, 415, 429))

STREAM: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
COMPLETION_TOKENS = 16
"""What OpenAI's API writes where `max_tokens` is absent."""
MOST_TEXTS = 64

CHAT_EXAMPLE = {
    "model": "my-student",
    "messages": [{"role": "user", "content": "Where is my parcel?"}],
    "max_tokens": 64,
    "temperature": 0,
}
TEXT_EXAMPLE = {"model": "my-student", "prompt": "Once upon a time", "max_tokens": 64, "temperature": 0}


@router.post("/chat/completions", response_model=ChatCompletion, responses={200: {"content": STREAM}})
async def create_chat_completion(
    body: Annotated[ChatRequest, Body(examples=[CHAT_EXAMPLE])],
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
) -> Response:
    """Go on with a conversation, through the model's own chat template; with `stream` as server-sent events."""
    model = await _writer(service, caller.owner, body.model)
    most = service.settings.serving_max_tokens
    wanted = body.max_completion_tokens or body.max_tokens
    field = "max_completion_tokens" if body.max_completion_tokens is not None else "max_tokens"
    _check_tokens(wanted, most, field)
    ask = WriteAsk(
        model=model,
        prompts=body.prompts(),
        generation=body.generation(wanted or most, _seed()),
        shorten=wanted is None,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        **_penalties(body),
    )
    heading = Heading.of("chatcmpl", model)
    whole_of = lambda whole: chat_completion(heading, body, whole)  # noqa: E731 - the one thing that differs
    return await _answer(service, request, body, ask, "/messages", ChatChunks(heading, body), whole_of)


@router.post("/completions", response_model=Completion, responses={200: {"content": STREAM}})
async def create_completion(
    body: Annotated[CompletionRequest, Body(examples=[TEXT_EXAMPLE])],
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
) -> Response:
    """Go on with texts as they are; with `stream` as server-sent events."""
    model = await _writer(service, caller.owner, body.model)
    most = service.settings.serving_max_tokens
    wanted = min(COMPLETION_TOKENS, most) if body.max_tokens is None else body.max_tokens
    _check_tokens(wanted, most, "max_tokens")
    prompts = body.prompts()
    if len(prompts) * (body.n or 1) > MOST_TEXTS:
        detail = f"{len(prompts)} prompts with {body.n} texts each are more than {MOST_TEXTS} texts"
        raise refused("/n", "too_many_texts", detail)
    ask = WriteAsk(
        model=model,
        prompts=prompts,
        generation=body.generation(wanted, _seed()) if wanted else None,
        logprobs=body.logprobs,
        echo=bool(body.echo),
        **_penalties(body),
    )
    heading = Heading.of("cmpl", model)
    whole_of = lambda whole: completion(heading, body, whole)  # noqa: E731 - the one thing that differs
    return await _answer(service, request, body, ask, "/prompt", TextChunks(heading, body), whole_of)


async def _writer(service: Service, owner: str, reference: str) -> ServedModel:
    def look() -> ServedModel:
        with service.database.read() as session:
            return writer_of(Models(session, owner), reference, service.settings)

    return await run_in_threadpool(look)


async def _answer(
    service: Service,
    request: Request,
    body: Sampling,
    ask: WriteAsk,
    prompt_pointer: str,
    chunks: Chunks,
    whole_of: Callable[[Written], ChatCompletion | Completion],
) -> Response:
    lines = service.serving.answer(ask)
    try:
        if body.stream:
            return await while_listened_to(request, stream_of(lines, chunks))
        whole = await while_listened_to(request, written(lines))
    except DistillError as error:
        raise answerable(error, "/model", prompt_pointer) from error
    return Response(whole_of(whole).model_dump_json(), media_type="application/json")


def _check_tokens(wanted: int | None, most: int, field: str) -> None:
    if wanted is not None and wanted > most:
        raise refused(f"/{field}", "too_many_tokens", f"{wanted} tokens are asked for, {most} are the most here")


def _penalties(body: Sampling) -> dict[str, float]:
    return {
        "frequency_penalty": body.frequency_penalty or 0.0,
        "presence_penalty": body.presence_penalty or 0.0,
    }


def _seed() -> int:
    return secrets.randbits(32)
