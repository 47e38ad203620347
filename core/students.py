"""The student: where its first weights come from, and which of them learn."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from core.architectures import ConfigSpec
from core.methods import Count, Frozen, Layer, NotEmpty, NotNegative, Positive, ShortText
from core.references import ModelReference, Nameable


class FromTeacherSpec(Frozen):
    """A student made of copies of the teacher's layers, as DistilBERT is (Sanh et al. 2019, arXiv:1910.01108, 3)."""

    layers: Annotated[tuple[Layer, ...], Field(max_length=200), NotEmpty()]
    """Which of the teacher's layers, from 0, in this order."""


class LoraSpec(Frozen):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685), merged into the weights at export."""

    r: Annotated[Count, Field(le=1024)] = 8
    """The rank."""
    alpha: Positive = 16.0
    """Adapters are multiplied with alpha / r."""
    dropout: Annotated[NotNegative, Field(lt=1)] = 0.0
    """Share of their inputs that is left out in training."""
    target_modules: Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] | None = None
    """Names of the layers that get one; what peft takes for the architecture when absent."""


class StudentSpec(Nameable):
    """Where the student's first weights come from: exactly one of `model`, `from_teacher`, `config`."""

    name_field = "model"

    model: ModelReference | None = None
    """A model's name or id, a job's id (its student), or org/name of a hub."""
    revision: ShortText | None = None
    """Of a hub's model: a branch, a tag or a commit."""
    from_teacher: FromTeacherSpec | None = None
    """Copies of some of the teacher's layers."""
    config: ConfigSpec | None = Field(
        None,
        description="Random weights: keys of a transformers config, read with the first teacher's tokenizer (images: "
        'resized to its image_size); or {"architecture": "mlp", "hidden": […]} on raw pixels.',
    )
    trainable: Literal["all", "head"] | Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] = "all"
    """all, head, or patterns (as a shell has them) of the parameters' names."""
    lora: LoraSpec | None = None
    """Train adapters instead; `{}` takes the defaults."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.model, self.from_teacher, self.config)) != 1:
            raise PydanticCustomError("student_source", "a student names exactly one of model, from_teacher, config")
        if isinstance(self.config, dict) and not isinstance(self.config.get("model_type"), str):
            raise PydanticCustomError("student_source", "config needs a model_type, such as 'bert'")
        return self
