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


class LoraSpec(Frozen):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685), merged into the weights at export."""

    r: Annotated[Count, Field(le=1024)] = 8
    alpha: Positive = 16.0
    dropout: Annotated[NotNegative, Field(lt=1)] = 0.0
    target_modules: Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] | None = None


class StudentSpec(Nameable):
    """Where the student's first weights come from: exactly one of `model`, `from_teacher`, `config`."""

    name_field = "model"

    model: ModelReference | None = None
    revision: ShortText | None = None
    from_teacher: FromTeacherSpec | None = None
    config: ConfigSpec | None = Field(
        None,
        description="Random weights: keys of a transformers config, read with the first teacher's tokenizer (images: "
        'resized to its image_size); or {"architecture": "mlp", "hidden": […]} on raw pixels.',
    )
    trainable: Literal["all", "head"] | Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] = "all"
    lora: LoraSpec | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.model, self.from_teacher, self.config)) != 1:
            raise PydanticCustomError("student_source", "a student names exactly one of model, from_teacher, config")
        if isinstance(self.config, dict) and not isinstance(self.config.get("model_type"), str):
            raise PydanticCustomError("student_source", "config needs a model_type, such as 'bert'")
        return self
