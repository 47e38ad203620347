"""`/v1/models/{name}/classify`: a classifier says what texts are."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from core.errors import DistillError
from core.models import Models
from core.serving import Classified, ClassifyAsk, Finished, Line, ServedModel
from service.deps import CallerDep, ServiceDep
from service.inference.lookup import answerable, classifier_of
from service.openapi import problems
from service.serving.forwarding import Serving
from service.serving.listening import while_listened_to
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/models", tags=["inference"], route_class=StrictRoute, responses=problems(404, 415, 429))

MOST_TEXTS = 256
EXAMPLE = {"texts": ["A warm and funny film.", "Two hours of noise."]}


class TextPair(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    text_pair: str


class ClassifyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    texts: Annotated[list[str | TextPair], Field(min_length=1, max_length=MOST_TEXTS)]


class ClassifiedText(BaseModel):
    object: Literal["classification"] = "classification"
    index: int
    label: str = Field(description="The likeliest class.")
    probability: float
    probabilities: dict[str, float]
    truncated: bool = Field(description="Whether the text was longer than the model reads, and cut.")


class ClassifyAnswer(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[ClassifiedText]


@router.post("/{name}/classify", response_model=ClassifyAnswer)
async def classify_texts(
    name: str,
    body: Annotated[ClassifyRequest, Body(examples=[EXAMPLE])],
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
) -> ClassifyAnswer:
    """Let a classifier say of each text which class it is, with the probabilities of all."""

    def look() -> ServedModel:
        with service.database.read() as session:
            return classifier_of(Models(session, caller.owner), name, service.settings)

    model = await run_in_threadpool(look)
    pairs = tuple((text, None) if isinstance(text, str) else (text.text, text.text_pair) for text in body.texts)
    try:
        found, _ = await while_listened_to(request, classified(service.serving, ClassifyAsk(model=model, texts=pairs)))
    except DistillError as error:
        raise answerable(error, "/path/name", "/texts") from error
    return ClassifyAnswer(model=model.name, data=classified_texts(found))


async def classified(serving: Serving, ask: ClassifyAsk) -> tuple[Classified, float]:
    """Return the answer and the seconds that it took. Raises DistillError."""
    lines: list[Line] = [line async for line in serving.answer(ask)]
    finished = lines[-1]
    assert isinstance(finished, Finished), "an answer that is whole ends so"
    return next(line for line in lines if isinstance(line, Classified)), finished.seconds


def classified_texts(found: Classified) -> list[ClassifiedText]:
    made = []
    for index, (probabilities, is_cut) in enumerate(zip(found.probabilities, found.is_cut, strict=True)):
        of_classes = dict(zip(found.labels, probabilities, strict=True))
        label = max(of_classes, key=of_classes.__getitem__)
        made.append(
            ClassifiedText(
                index=index,
                label=label,
                probability=of_classes[label],
                probabilities=of_classes,
                truncated=is_cut,
            )
        )
    return made
