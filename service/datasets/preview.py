"""What may be asked of a data set's examples: which of them, and how a model reads them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.blobs import Blobs
from core.chats import messages_of
from core.errors import ChatTemplateUnusable, DistillError
from core.models import Models
from core.serving import Finished, Line, Reading, ReadingAsk, ServedModel, Turn
from core.settings import Settings
from core.spec import ColumnsSpec, Form
from core.tables import Dataset, Model
from service.datasets.reading import ReadingOut, reading_of
from service.errors import InvalidRequest
from service.inference.lookup import answerable, check_size, files_of
from service.jobs.faults import CHECK_HINTS
from service.models.faults import MODEL_HINTS
from service.models.folder import task_of
from service.models.tokenizers import Unreadable, Writer, has_chat_template
from service.problems import Fault
from service.serving.forwarding import Serving

Column = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Read = Callable[[Mapping[str, Any]], ReadingOut]
WEIGHTS = ".safetensors"
POINTER = "/query/tokenizer"


class Preview(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Field(ge=0, le=1 << 40)] = 0
    tokenizer: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="A language model of yours: answers tokens, mask and cut of each example."
    )
    max_length: Annotated[int, Field(ge=4, le=8192)] = Field(256, description="As training.max_length.")
    train_on_prompt: bool = Field(False, description="As training.train_on_prompt.")
    prompt: Column = Field("prompt", description="As dataset.columns.prompt; so are the next two.")
    completion: Column = "completion"
    text: Column = "text"
    messages: Column = Field(
        "messages",
        description="As dataset.columns.messages; a name that is no column's reads prompts or texts instead.",
    )

    def reader(self, dataset: Dataset, models: Models, blobs: Blobs, settings: Settings) -> "Read | ReadingAsk":
        """Return what reads an example with the named model's tokenizer; of chats, what to ask the serving process.

        A chat template is a program that the model's author wrote: this process runs none of those.

        Raises:
            InvalidRequest: the model does not write, or its tokenizer cannot be read here, or writes no chats.
            ModelNotFound: there is no such model.
        """
        model = models.get(self.tokenizer or "")
        if task_of(model.architecture) != "text-generation":
            detail = f"'{model.name}' is a {model.architecture}, which does not write"
            raise _refused("not_a_language_model", detail, CHECK_HINTS["not_a_language_model"])
        columns = ColumnsSpec(prompt=self.prompt, completion=self.completion, text=self.text, messages=self.messages)
        form = self._form(columns, dataset)
        if form == "messages":
            return self._asked(dataset, model, blobs, settings)
        try:
            writer = Writer(blobs, model)
        except Unreadable as error:
            raise _refused("no_tokenizer", str(error), MODEL_HINTS["no_tokenizer"]) from None

        def read(example: Mapping[str, Any]) -> ReadingOut:
            return reading_of(example, form, columns, writer, self.max_length, on_prompt=self.train_on_prompt)

        return read

    def _form(self, columns: ColumnsSpec, dataset: Dataset) -> Form:
        present = [column["name"] for column in dataset.columns]
        form = columns.form_of(present)
        if form is None:
            detail = f"the data set has no chats, prompts or texts; it has {', '.join(present[:20])}"
            raise _refused("missing_column", detail, "Name its columns with prompt, completion or text.")
        return form

    def _asked(self, dataset: Dataset, model: Model, blobs: Blobs, settings: Settings) -> ReadingAsk:
        (column,) = [column for column in dataset.columns if column["name"] == self.messages]
        wrong = column.get("not_chats")
        if wrong is not None or column["type"] not in ("json", "string"):
            why = f"line {wrong['line']}: {wrong['why']}" if wrong else f"it holds {column['type']}"
            raise _refused("not_chats", f"column '{self.messages}', {why}", CHECK_HINTS["not_chats"])
        if not has_chat_template(blobs, model):
            lacking = ChatTemplateUnusable(f"'{model.name}'", "its tokenizer has no chat template")
            raise _refused(lacking.code, str(lacking), lacking.hint)
        files = files_of([file for file in model.files if not file["path"].endswith(WEIGHTS)])
        served = check_size(ServedModel(key=model.id, name=model.name, files=files), settings, POINTER)
        return ReadingAsk(
            model=served, chats=(), first=self.offset + 1, max_length=self.max_length, on_prompt=self.train_on_prompt
        )

    def chats(self, examples: Sequence[Mapping[str, Any]]) -> tuple[tuple[Turn, ...], ...]:
        """Return the conversations of some examples; an empty cell is an empty one. Raises InvalidRequest."""
        return tuple(self._turns(example[self.messages], place) for place, example in enumerate(examples))

    def _turns(self, cell: Any, place: int) -> tuple[Turn, ...]:
        try:
            return tuple(Turn.model_validate(message) for message in messages_of(cell)) if cell is not None else ()
        except ValueError as error:
            detail = f"column '{self.messages}', example {self.offset + place + 1}: {error}"
            raise _refused("not_chats", detail, CHECK_HINTS["not_chats"]) from None


async def read_by(serving: Serving, ask: ReadingAsk) -> list[ReadingOut]:
    """Let the serving process read conversations.

    Raises:
        InvalidRequest: the template refuses one of them, or there is no usable tokenizer.
        DistillError: the serving process cannot answer.
    """
    try:
        lines: list[Line] = [line async for line in serving.answer(ask)]
    except DistillError as error:
        raise answerable(error, POINTER, POINTER) from error
    assert isinstance(lines[-1], Finished), "an answer that is whole ends so"
    found = [line for line in lines if isinstance(line, Reading)]
    return [ReadingOut.model_validate(one.model_dump(exclude={"type"})) for one in found]


def _refused(code: str, detail: str, hint: str) -> InvalidRequest:
    return InvalidRequest([Fault(pointer=POINTER, detail=detail, code=code, hint=hint)])
