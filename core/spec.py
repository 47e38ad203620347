"""JobSpec: what a user asks for. Frozen, complete with defaults, the same for the service that checks it and the worker
that trains from it."""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    Tag,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from core.architectures import MlpSpec
from core.endpoints import EndpointSpec, EndpointTeacher
from core.methods import (
    Count,
    Flag,
    Fraction,
    Frozen,
    LogitsMethod,
    Method,
    NotEmpty,
    OnPolicyMethod,
    Positive,
    SequenceMethod,
    ShortText,
)
from core.references import ModelReference, Name, Nameable
from core.students import StudentSpec
from core.training import ResourcesSpec, TrainingSpec, not_available


class FinetuneSpec(Frozen):
    """Trains the teacher on the labelled examples before it teaches; gives a bare encoder its head."""

    epochs: Annotated[Count, Field(le=1000)] = 2
    """Passes over the labelled examples."""
    learning_rate: Annotated[Positive, Field(le=10)] = 5e-5
    """The highest, as in `training`; the rest of `training` holds for this training too."""


class TeacherSpec(Nameable):
    name_field = "model"

    model: ModelReference
    """A model's name or id, a job's id (its student), or org/name of a hub."""
    revision: ShortText | None = None
    """Of a hub's model: a branch, a tag or a commit."""
    weight: Positive = 1.0
    """Its share among several teachers."""
    finetune: FinetuneSpec | None = None
    """Train it on the labelled examples before it teaches; `{}` takes the defaults."""


def _kind_of(written: Any) -> str:
    has_endpoint = isinstance(written, dict) and written.get("endpoint") is not None
    return "black_box" if has_endpoint or isinstance(written, EndpointTeacher) else "with_weights"


Teacher = Annotated[
    Annotated[TeacherSpec, Tag("with_weights")] | Annotated[EndpointTeacher, Tag("black_box")],
    Discriminator(_kind_of),
]


def _as_list(written: Any) -> Any:
    return written if isinstance(written, (list, tuple)) else [written]


def _nobody_or(written: Any, handler: ValidatorFunctionWrapHandler) -> tuple[TeacherSpec | EndpointTeacher, ...]:
    """Null is nobody; an empty list is a slip, and refused."""
    return () if written is None else handler(_as_list(written))


def _one_or_many(
    teachers: tuple[TeacherSpec | EndpointTeacher, ...],
) -> TeacherSpec | EndpointTeacher | tuple[TeacherSpec | EndpointTeacher, ...] | None:
    return (teachers[0] if len(teachers) == 1 else teachers) or None


class _OneOrMany:
    """In JSON a single teacher is written without the list around it, and none as null."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many, {"type": "null"}]} if "items" in many else many


Teachers = Annotated[
    tuple[Teacher, ...],
    Field(max_length=8),
    NotEmpty(),
    WrapValidator(_nobody_or),
    PlainSerializer(_one_or_many, when_used="json"),
    _OneOrMany(),
]


Form = Literal["messages", "prompt", "text"]


class ColumnsSpec(Frozen):
    """The names of the columns in the data set. `split` names a column that says train, validation or test.

    Classifiers read `text` and `text_pair`, or `image`, and `label`. Language models read the first of these that is
    there: `messages` (chats: lists of {role, content}), `prompt` with `completion`, or `text`.
    """

    text: ShortText = "text"
    """What classifiers read, or language models where there is neither a chat nor a prompt."""
    text_pair: ShortText | None = None
    """A second text that classifiers read behind the first."""
    image: ShortText = "image"
    """Images, as bytes or as a zip's paths."""
    label: ShortText = "label"
    """The class of an example; empty where nobody knows it."""
    prompt: ShortText = "prompt"
    """What a language model is asked."""
    completion: ShortText = "completion"
    """What it answers; may be empty where a teacher or the student writes."""
    messages: ShortText | None = Field(
        "messages", description="null: read prompts or texts, though there are chats beside them."
    )
    split: ShortText | None = None
    """Says of each example where it belongs: train, validation or test."""

    def form_of(self, present: Collection[str]) -> Form | None:
        """Return how a language model reads a data set with these columns; None where it cannot."""
        forms: tuple[Form, ...] = ("messages", "prompt", "text")
        return next((form for form in forms if getattr(self, form) in present), None)


class DatasetSpec(Nameable):
    name_field = "id"

    id: ModelReference
    """A data set's id, or org/name of a hub."""
    subset: ShortText | None = None
    """Of a hub's data set: its configuration."""
    split: ShortText | None = None
    """Of a hub's data set: the one part to read; all of them when absent."""
    validation: Annotated[Fraction, Field(lt=1)] = 0.1
    """The share that is measured while training. Ignored where `columns.split` says it."""
    test: Annotated[Fraction, Field(lt=1)] = 0.1
    """The share that the report is measured on. Ignored where `columns.split` says it."""
    columns: ColumnsSpec = ColumnsSpec()
    """Which column is what."""
    max_examples: Count | None = None
    """Read no more than so many."""

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.validation + self.test >= 1:
            raise PydanticCustomError("invalid_split", "validation and test together leave nothing to train on")
        return self


class EvaluationSpec(Frozen):
    baseline: Flag = Field(True, description="Also train the same student on labels alone, to measure the gain.")


class OutputSpec(Frozen):
    model: Name | None = Field(None, description="The name under which the student becomes a model.")
    formats: tuple[str, ...] = ("safetensors",)
    """What the student is written as."""

    @model_validator(mode="after")
    def _safetensors_only(self) -> Self:
        if self.formats != ("safetensors",):
            raise not_available("A format other than safetensors", 'Use formats ["safetensors"].')
        return self


def _no_webhooks_yet(notify: tuple[Any, ...]) -> tuple[Any, ...]:
    if notify:
        raise not_available("notify", "Follow the job at GET /v1/jobs/{id}/events.")
    return notify


LabelText = Annotated[str, StringConstraints(max_length=200)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]


Task = Literal["text-classification", "text-generation", "image-classification"]


def _built_method(written: Any) -> Any:
    return {"type": "logits", **written} if isinstance(written, dict) else written


def _black_box(place: str, lack: str) -> PydanticCustomError:
    why = f"a teacher behind an endpoint {lack}"
    return PydanticCustomError("black_box_teacher", "{place}: {why}", {"place": place, "why": why})


class JobSpec(Frozen):
    """A distillation job. `teacher`, `student` and `dataset` are required; all else has a default."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """A title for people."""
    task: Task | None = Field(None, description="Decided from the data set when absent.")
    teacher: Teachers = Field(description="Null where alpha is 0: then the student learns from labels alone.")
    student: StudentSpec
    """What learns."""
    dataset: DatasetSpec
    """What is learned from, and measured on."""
    T: Annotated[Positive, Field(le=1000)] = Field(2.0, description="Divides both models' logits and nothing else.")
    alpha: Fraction = Field(0.5, description="The teacher's share of the loss: alpha*T^2*KL + (1-alpha)*CE.")
    method: Annotated[Method, BeforeValidator(_built_method)] = LogitsMethod()
    """How the student learns from its teacher."""
    training: TrainingSpec = TrainingSpec()
    """How it is trained; a fine-tuned teacher and the baseline are, too."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """What the report measures."""
    output: OutputSpec = OutputSpec()
    """What becomes of the student."""
    resources: ResourcesSpec = ResourcesSpec()
    """Where and how long the job runs."""
    notify: Annotated[tuple[Any, ...], AfterValidator(_no_webhooks_yet)] = ()
    """Not available yet: empty."""
    labels: Annotated[dict[LabelKey, LabelText], Field(max_length=32)] = Field(default_factory=dict)
    """Your own keys and values; jobs are listed by them."""

    @model_validator(mode="after")
    def _needs_no_absent_teacher(self) -> Self:
        wanted = {
            "alpha above 0": self.alpha > 0,
            "student.from_teacher": self.student.from_teacher is not None,
            "method.hidden": self.method.type == "logits" and self.method.hidden is not None,
            f"method {self.method.type}": self.method.type != "logits",
        }
        if not self.teacher and any(wanted.values()):
            what = next(what for what, is_wanted in wanted.items() if is_wanted)
            missing = {"what": what, "place": "teacher"}
            raise PydanticCustomError("teacher_missing", "there is no teacher, but {what} asks for one", missing)
        return self

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        for place, why in self.misfits():
            raise PydanticCustomError("wrong_for_task", "{place}: {why}", {"place": ".".join(place), "why": why})
        if self.method.type == "on_policy":
            if self.training.batch_size == "auto":
                raise not_available(
                    "batch_size auto for texts that the student will write", "Use a number.", "training.batch_size"
                )
            self.method.check_fits(self.alpha, self.training.train_on_prompt, self.training.max_length)
        if self.method.type == "sequence":
            self.method.check_route([teacher.model for teacher in self.teacher_models])
        if self.method.type == "logits":
            self.method.check_teachers(len(self.teacher))
        return self

    @model_validator(mode="after")
    def _fits_its_processes(self) -> Self:
        self.resources.check_fits(self.training, self.method.type, has_adapters=self.student.lora is not None)
        return self

    @model_validator(mode="after")
    def _fits_its_teacher(self) -> Self:
        if self.endpoint is None:
            return self
        if len(self.teacher) > 1:
            raise not_available("An endpoint among several teachers", "Name one endpoint, or teachers with weights.")
        if self.method.type != "sequence":
            raise _black_box("method.type", "has no logits to show")
        if self.student.model is None:
            raise _black_box("student", "has no layers and no tokenizer to give")
        if self.method.generation.engine != "auto":
            raise _black_box("method.generation.engine", "has an engine of its own")
        if self.endpoint.logprobs is not None and self.method.generation.chat is False:
            raise _black_box("method.generation.chat", "tells the likeliest tokens of chats alone")
        if self.endpoint.logprobs is not None and not self.method.keep_reasoning:
            raise _black_box("method.keep_reasoning", "tells the likeliest tokens of whole texts alone")
        return self

    def misfits(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each part that the task knows no meaning for, and why; nothing while the task is undecided."""
        hidden = self.method.type == "logits" and self.method.hidden is not None
        top_k = self.method.type == "logits" and self.method.top_k is not None
        if self.task == "text-generation":
            if not self.teacher:
                yield ("teacher",), "a language model learns from a teacher"
            if self.student.trainable == "head":
                yield ("student", "trainable"), "a language model's head is often its embedding; name patterns instead"
            if hidden:
                yield ("method", "hidden"), "hidden states are matched for text classifiers alone"
            if self.dataset.columns.text_pair is not None:
                yield ("dataset", "columns", "text_pair"), "a language model reads prompt and completion instead"
        if self.task in ("text-classification", "image-classification"):
            if self.method.type != "logits":
                yield ("method", "type"), "a classifier learns from logits"
            if top_k:
                yield ("method", "top_k"), "a classifier's logits are few: all of them are kept"
            if self.is_aligned:
                yield ("method", "alignment"), "a classifier's classes are its teacher's, whatever its tokens are"
            if self.training.train_on_prompt:
                yield ("training", "train_on_prompt"), "a classifier reads no prompt"
        if self.task == "image-classification":
            if hidden:
                yield ("method", "hidden"), "hidden states are matched for text classifiers alone"
            if self.training.max_length != TrainingSpec.model_fields["max_length"].default:
                yield ("training", "max_length"), "an image has no tokens to cut"
            if self.dataset.columns.text_pair is not None:
                yield ("dataset", "columns", "text_pair"), "an image classifier reads no text"
        elif self.task is not None:
            if self.training.augment is not None:
                yield ("training", "augment"), "images alone are jittered"
            if isinstance(self.student.config, MlpSpec):
                yield ("student", "config", "architecture"), "an mlp reads images alone"
            if not self.teacher and self.student.config is not None:
                yield ("student", "config"), "a config takes the first teacher's tokenizer, and there is no teacher"

    @property
    def endpoint(self) -> EndpointSpec | None:
        """The endpoint of a job whose teacher is a black box."""
        return next((one.endpoint for one in self.teacher if isinstance(one, EndpointTeacher)), None)

    @property
    def hears_likeliest(self) -> bool:
        """Whether a teacher behind an endpoint tells the likeliest tokens of its texts, for the student to match."""
        return self.endpoint is not None and self.endpoint.logprobs is not None

    @property
    def teacher_models(self) -> tuple[TeacherSpec, ...]:
        """The teachers whose weights are read; none of them is behind an endpoint."""
        return tuple(one for one in self.teacher if isinstance(one, TeacherSpec))

    @property
    def logits_method(self) -> LogitsMethod:
        """The method of a job that learns from logits, as every classifier does."""
        assert self.method.type == "logits"
        return self.method

    @property
    def is_aligned(self) -> bool:
        """Whether logits are compared though the student's tokens may be others than its teacher's."""
        return self.method.type == "logits" and self.method.alignment is not None

    @property
    def mixing(self) -> LogitsMethod | OnPolicyMethod:
        """The method of a job that compares distributions, token by token or example by example."""
        assert self.method.type != "sequence"
        return self.method

    @property
    def sequence_method(self) -> SequenceMethod:
        """The method of a job that learns from texts which its teachers write."""
        assert self.method.type == "sequence"
        return self.method

    @property
    def loss_formula(self) -> str:
        """The loss in words, echoed by the API (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2)."""
        if self.method.type == "sequence":
            if self.hears_likeliest:
                return "alpha*KL_top_k(teacher||student)+(1-alpha)*CE(teacher's text)"
            return "CE(teacher's text)"
        if not self.teacher:
            return "CE(label, student)"
        if self.is_aligned:
            return "alpha*ULD_T(teacher,student)+(1-alpha)*CE"
        kl = {
            "forward_kl": "KL(teacher||student)",
            "reverse_kl": "KL(student||teacher)",
            "jsd": "JSD_beta(teacher,student)",
        }
        divergence = kl.get(self.method.divergence, f"{self.method.divergence.upper()}(teacher,student)")
        if self.method.type == "on_policy":
            return f"alpha*T^2*{divergence}+(1-alpha)*CE(data set's completions)"
        hidden = ""
        if self.method.type == "logits" and self.method.hidden is not None:
            hidden = f"+{self.method.hidden.weight:g}*hidden_{self.method.hidden.type}"
        return f"alpha*T^2*{divergence}+(1-alpha)*CE{hidden}"
