"""The student: where its first weights come from, and which of them learn."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from core.methods import Count, Frozen, Layer, NotEmpty, NotNegative, Positive, ShortText
from core.references import ModelReference, Nameable

Scalar = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | bool | str | None


class FromTeacherSpec(Frozen):
    """A student made of copies of the teacher's layers, as DistilBERT is (Sanh et al. 2019, arXiv:1910.01108, 3)."""

    layers: Annotated[tuple[Layer, ...], Field(max_length=200), NotEmpty()]


class LoraSpec(Frozen):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685), merged into the weights at export."""

    r: Annotated[Count, Field(le=1024)] = 8
    alpha: Positive = 16.0
    dropout: Annotated[NotNegative, Field(lt=1)] = 0.0
    target_modules: Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] | None = None


ConfigKey = Literal[
    "model_type",
    "vocab_size",
    "hidden_size",
    "embedding_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "layer_norm_eps",
    "rms_norm_eps",
    "rope_theta",
    "type_vocab_size",
    "initializer_range",
    "tie_word_embeddings",
    "dim",
    "n_layers",
    "n_heads",
    "hidden_dim",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "sinusoidal_pos_embds",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "n_positions",
    "activation_function",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
]


class StudentSpec(Nameable):
    """Where the student's first weights come from: exactly one of `model`, `from_teacher`, `config`."""

    name_field = "model"

    model: ModelReference | None = None
    revision: ShortText | None = None
    from_teacher: FromTeacherSpec | None = None
    config: dict[ConfigKey, Scalar] | None = Field(
        None, description="A transformers config for random weights; the first teacher's tokenizer is used."
    )
    trainable: Literal["all", "head"] | Annotated[tuple[ShortText, ...], Field(max_length=64), NotEmpty()] = "all"
    lora: LoraSpec | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.model, self.from_teacher, self.config)) != 1:
            raise PydanticCustomError("student_source", "a student names exactly one of model, from_teacher, config")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise PydanticCustomError("student_source", "config needs a model_type, such as 'bert'")
        return self
