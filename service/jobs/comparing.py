"""`/v1/jobs/{id}/compare`: what the teacher, the student before and the student after make of the same prompts."""

from typing import Annotated

from fastapi import APIRouter, Body, Request
from starlette.concurrency import run_in_threadpool

from core.errors import DistillError, ImpossibleMove, ModelUnreadable, StudentUnusable
from core.jobs import Jobs
from core.lifecycle import JobStatus
from core.methods import GenerationSpec
from core.serving import ClassifyAsk, PromptAsk, ServedModel, WriteAsk
from core.settings import Settings
from service.deps import CallerDep, ServiceDep
from service.errors import InvalidRequest
from service.inference.answers import Written, written
from service.inference.classifying import classified, classified_texts
from service.inference.lookup import DOWNLOAD, LOOKS, answerable, refused
from service.jobs.comparison import (
    ComparedSide,
    CompareRequest,
    Comparison,
    WrittenAnswer,
    prompt_ask,
)
from service.jobs.sides import Side, sides_of
from service.openapi import problems
from service.problems import Fault
from service.serving.forwarding import Serving
from service.serving.listening import while_listened_to
from service.strict import StrictRoute

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute, responses=problems(404, 409, 415, 429))

EXAMPLE = {"prompts": ["Once upon a time", [{"role": "user", "content": "Where is my parcel?"}]], "max_tokens": 48}


@router.post("/{job_id}/compare", response_model=Comparison)
async def compare_models(
    job_id: str,
    body: Annotated[CompareRequest, Body(examples=[EXAMPLE])],
    request: Request,
    service: ServiceDep,
    caller: CallerDep,
) -> Comparison:
    """Ask a job's teacher, its student as it began and its student the same; a side that cannot be had says why."""

    def look() -> tuple[str, tuple[Side, ...]]:
        with service.database.read() as session:
            job = Jobs(session, caller.owner).get(job_id)
            if job.status != JobStatus.SUCCEEDED:
                raise ImpossibleMove("compare the models of", job_id, job.status)
            _check(body, job.task, service.settings)
            return job.task, sides_of(session, caller.owner, job, service.settings)

    task, sides = await run_in_threadpool(look)
    ask = _Texts(service.serving, body) if task == "text-classification" else _Prompts(service.serving, body)
    return await while_listened_to(request, _compared(job_id, task, body, sides, ask))


async def _compared(
    job_id: str, task: str, body: CompareRequest, sides: tuple[Side, ...], ask: "_Texts | _Prompts"
) -> Comparison:
    """One model after the other, so that no more than one needs to be in memory."""
    out = []
    for side in sides:
        compared = ComparedSide(role=side.role, model=side.name, omitted=side.omitted)
        if side.model is not None:
            try:
                compared = await ask.side(side, side.model)
            except (ModelUnreadable, StudentUnusable) as error:
                compared.omitted = str(error)
        out.append(compared)
    return Comparison(job_id=job_id, task=task, prompts=body.prompts, sides=out)


class _Texts:
    """Of classifiers: what each text is."""

    def __init__(self, serving: Serving, body: CompareRequest) -> None:
        self.serving, self.texts = serving, [str(prompt) for prompt in body.prompts]
        self.taught: list[str] | None = None

    async def side(self, side: Side, model: ServedModel) -> ComparedSide:
        ask = ClassifyAsk(model=model, texts=tuple((text, None) for text in self.texts))
        try:
            found, seconds = await classified(self.serving, ask)
        except DistillError as error:
            raise _answerable(error, "/prompts") from error
        answers = classified_texts(found)
        labels = [answer.label.casefold() for answer in answers]
        agreement = None
        if side.role == "teacher":
            self.taught = labels
        elif self.taught is not None:
            agreement = sum(own == taught for own, taught in zip(labels, self.taught, strict=True)) / len(labels)
        speed = len(labels) / seconds if seconds else None
        return ComparedSide(
            role=side.role, model=side.name, examples_per_second=speed, agreement=agreement, answers=answers
        )


class _Prompts:
    """Of language models: what each goes on with, one prompt after the other."""

    def __init__(self, serving: Serving, body: CompareRequest) -> None:
        self.serving, self.body = serving, body
        self.prompts = [prompt_ask(prompt) for prompt in body.prompts]
        self.taught: list[Written] | None = None

    async def side(self, side: Side, model: ServedModel) -> ComparedSide:
        found = [await self._written(model, place, prompt) for place, prompt in enumerate(self.prompts)]
        agreement = None
        if side.role == "teacher":
            self.taught = found
        elif self.taught is not None:
            agreement = await self._agreement(model, found, self.taught)
        tokens, seconds = sum(one.usage.completion_tokens for one in found), sum(one.seconds for one in found)
        return ComparedSide(
            role=side.role,
            model=side.name,
            tokens_per_second=tokens / seconds if seconds else None,
            agreement=agreement,
            answers=[WrittenAnswer.of(one) for one in found],
        )

    async def _written(self, model: ServedModel, place: int, prompt: PromptAsk) -> Written:
        generation = GenerationSpec(
            temperature=float(self.body.temperature),
            top_p=1.0,
            max_new_tokens=self.body.max_tokens,
            seed=self.body.seed,
        )
        try:
            return await written(self.serving.answer(WriteAsk(model=model, prompts=(prompt,), generation=generation)))
        except DistillError as error:
            raise _answerable(error, f"/prompts/{place}") from error

    async def _agreement(self, model: ServedModel, own: list[Written], taught: list[Written]) -> float | None:
        """Return the share of the teacher's tokens that the model would have chosen in their place.

        None where nothing can be compared: the models read the prompts as other tokens.
        """
        agreed = total = 0
        for mine, theirs in zip(own, taught, strict=True):
            prompt, target = theirs.prompts[0].ids, theirs.texts[0].ids
            if mine.prompts[0].ids != prompt or not target:
                continue
            read = (PromptAsk(ids=(*prompt, *target)),)
            ask = WriteAsk(model=model, prompts=read, generation=None, echo=True, logprobs=1)
            try:
                scored = await written(self.serving.answer(ask))
            except DistillError as error:
                if error.status != 422:
                    raise
                continue
            places = scored.prompts[0].tokens[len(prompt) :]
            agreed += sum(token.top[0].id == token.id for token in places)
            total += len(places)
        return agreed / total if total else None


def _answerable(error: DistillError, pointer: str) -> DistillError:
    """What one side alone suffers leaves the others as they are."""
    return error if isinstance(error, (ModelUnreadable, StudentUnusable)) else answerable(error, "", pointer)


def _check(body: CompareRequest, task: str, settings: Settings) -> None:
    """Raise InvalidRequest where a part of the request means nothing for the job's task."""
    if task == "image-classification":
        raise InvalidRequest(
            [Fault(pointer="/prompts", detail=f"the student {LOOKS}", code="wrong_for_task", hint=DOWNLOAD)]
        )
    if task == "text-classification":
        faults = [
            Fault(
                pointer=f"/{name}", detail=f"a classifier knows no {name}", code="wrong_for_task", hint="Leave it out."
            )
            for name in ("max_tokens", "temperature", "seed")
            if name in body.model_fields_set
        ]
        faults += [
            Fault(
                pointer=f"/prompts/{place}",
                detail="a classifier reads texts",
                code="wrong_for_task",
                hint="Write a text.",
            )
            for place, prompt in enumerate(body.prompts)
            if not isinstance(prompt, str)
        ]
        if faults:
            raise InvalidRequest(faults)
    elif body.max_tokens > settings.serving_max_tokens:
        most = settings.serving_max_tokens
        raise refused(
            "/max_tokens", "too_many_tokens", f"{body.max_tokens} tokens are asked for, {most} are the most here"
        )
