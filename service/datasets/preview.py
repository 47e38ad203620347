"""What may be asked of a data set's examples: which of them, and how a model reads them."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.blobs import Blobs
from core.models import Models
from core.spec import ColumnsSpec, Form, not_available
from core.tables import Dataset
from service.datasets.reading import ReadingOut, reading_of
from service.errors import InvalidRequest
from service.jobs.faults import CHECK_HINTS
from service.models.faults import MODEL_HINTS
from service.models.folder import task_of
from service.models.tokenizers import Unreadable, Writer
from service.problems import Fault

Column = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Read = Callable[[Mapping[str, Any]], ReadingOut]


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

    def reader(self, dataset: Dataset, models: Models, blobs: Blobs) -> Read:
        """Return what reads an example with the named model's tokenizer.

        Raises:
            InvalidRequest: the model does not write, its tokenizer cannot be read here, or the examples are chats.
            ModelNotFound: there is no such model.
        """
        model = models.get(self.tokenizer or "")
        if task_of(model.architecture) != "text-generation":
            detail = f"'{model.name}' is a {model.architecture}, which does not write"
            raise _refused("not_a_language_model", detail, CHECK_HINTS["not_a_language_model"])
        columns = ColumnsSpec(prompt=self.prompt, completion=self.completion, text=self.text)
        form = self._form(columns, dataset)
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
        if form == "messages":
            # A chat template is a program that the model's author wrote: this process runs none of those.
            instead = "A job says how many examples it cuts and how many tokens it learns, in its events."
            said = not_available("A preview of chats", instead)
            raise _refused(said.type, said.message(), instead)
        return form


def _refused(code: str, detail: str, hint: str) -> InvalidRequest:
    return InvalidRequest([Fault(pointer="/query/tokenizer", detail=detail, code=code, hint=hint)])
