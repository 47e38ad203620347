"""The serving process over HTTP: for the service alone, with a token, one JSON object a line."""

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.blobs import Blobs
from core.serving import ClassifyAsk, ReadingAsk, ServedModel, WriteAsk, line_of
from core.settings import Settings
from serving.classifying import classify
from serving.gate import Gate
from serving.learned import read_chats
from serving.loading import (
    Classifier,
    Reader,
    Writer,
    give_memory_back,
    load_as_classifier,
    load_as_reader,
    load_as_writer,
    loaded_from,
)
from serving.residents import Residents
from serving.turns import Turn, Turns
from serving.writing import write

ModelT = TypeVar("ModelT", Writer, Classifier, Reader)
Task = Callable[[Turn], float]


@dataclass
class Serving:
    """What one serving process holds."""

    settings: Settings
    token: str | None
    """What a request must carry; None where only this machine can reach us and the operator gave none."""
    blobs: Blobs = field(init=False)
    turns: Turns = field(init=False)
    residents: Residents[Writer | Classifier | Reader] = field(init=False)
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        settings = self.settings
        self.blobs = Blobs(settings.storage)
        self.turns = Turns(settings.serving_concurrency, settings.serving_queue)
        self.residents = Residents(settings.serving_models, settings.serving_memory_bytes, give_memory_back)

    def writing(self, ask: WriteAsk) -> Task:
        def task(turn: Turn) -> float:
            load = self._loader(ask.model, load_as_writer)
            with self.residents.borrowed(f"writer {ask.model.key}", ask.model.bytes, load, turn.pulse) as writer:
                assert isinstance(writer, Writer)
                with self.gate.working():
                    return write(writer, ask, turn.tell, self._step(turn))

        return task

    def classifying(self, ask: ClassifyAsk) -> Task:
        def task(turn: Turn) -> float:
            load = self._loader(ask.model, load_as_classifier)
            key = f"classifier {ask.model.key}"
            with self.residents.borrowed(key, ask.model.bytes, load, turn.pulse) as classifier:
                assert isinstance(classifier, Classifier)
                with self.gate.working():
                    return classify(classifier, ask, turn.tell, self._step(turn))

        return task

    def reading(self, ask: ReadingAsk) -> Task:
        def task(turn: Turn) -> float:
            load = self._loader(ask.model, load_as_reader)
            with self.residents.borrowed(f"reader {ask.model.key}", ask.model.bytes, load, turn.pulse) as reader:
                assert isinstance(reader, Reader)
                with self.gate.working():
                    return read_chats(reader, ask, turn.tell, self._step(turn))

        return task

    def _loader(self, wanted: ServedModel, load_as: Callable[..., ModelT]) -> Callable[[], ModelT]:
        return lambda: loaded_from(self.blobs, self.settings.work, wanted, load_as, self.gate)

    def _step(self, turn: Turn) -> Callable[[], None]:
        def step() -> None:
            turn.pulse()
            self.gate.step()

        return step


def create_app(serving: Serving) -> Starlette:
    async def write_(request: Request) -> Response:
        return await _answer(serving, request, lambda body: serving.writing(WriteAsk.model_validate_json(body)))

    async def classify_(request: Request) -> Response:
        return await _answer(serving, request, lambda body: serving.classifying(ClassifyAsk.model_validate_json(body)))

    async def read_(request: Request) -> Response:
        return await _answer(serving, request, lambda body: serving.reading(ReadingAsk.model_validate_json(body)))

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "models": serving.residents.keys, "requests": serving.turns.present})

    return Starlette(
        routes=[
            Route("/write", write_, methods=["POST"]),
            Route("/classify", classify_, methods=["POST"]),
            Route("/read", read_, methods=["POST"]),
            Route("/healthz", health),
        ]
    )


async def _answer(serving: Serving, request: Request, task_of: Callable[[bytes], Task]) -> Response:
    if serving.token is not None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {serving.token}".encode()):
            return Response(status_code=401)
    task = task_of(await request.body())
    return StreamingResponse(_lines(serving, task), media_type="application/x-ndjson")


async def _lines(serving: Serving, task: Task) -> AsyncIterator[bytes]:
    async with aclosing(serving.turns.answer(task)) as lines:
        async for line in lines:
            yield line_of(line)
