"""What `student.config` may say: keys of a transformers config, or a network on raw pixels."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from core.methods import Count, Fraction, Frozen, NotEmpty

MOST_PARAMETERS = 2_000_000_000
"""More than a student that is made at random may have: a config of a few bytes must not ask for all memory."""

Width = Annotated[Count, Field(le=16_384)]
Dropout = Annotated[Fraction, Field(lt=1)]

Scalar = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | bool | str | None
Widths = Annotated[tuple[Width, ...], Field(max_length=16), NotEmpty()]

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
    "image_size",
    "patch_size",
    "num_channels",
    "hidden_sizes",
    "depths",
    "layer_type",
    "qkv_bias",
    "drop_path_rate",
]


class MlpSpec(Frozen):
    """A multilayer perceptron on raw pixels: linear layers with rectifiers between them, as in Hinton, Vinyals and Dean
    (2015, arXiv:1503.02531, 3). Its size and channels are those of the data set's images."""

    architecture: Literal["mlp"]
    """Tells it from a transformers config."""
    hidden: Widths = Field(description="Units of each hidden layer, from the pixels to the classes.")
    dropout: Dropout = Field(0.0, description="Share of hidden units that are left out in training.")
    input_dropout: Dropout = Field(0.0, description="Share of pixels that are left out in training.")

    def parameters(self, pixels: int, classes: int) -> int:
        """Return how many weights and biases it has for images of so many pixels, each channel counted."""
        widths = [pixels, *self.hidden, classes]
        return sum((before + 1) * after for before, after in pairwise(widths))


def _kind_of_config(written: Any) -> str:
    return "mlp" if isinstance(written, MlpSpec) or "architecture" in _keys(written) else "transformers"


def _keys(written: Any) -> Any:
    return written if isinstance(written, dict) else ()


ConfigSpec = Annotated[
    Annotated[MlpSpec, Tag("mlp")] | Annotated[dict[ConfigKey, Scalar | Widths], Tag("transformers")],
    Discriminator(_kind_of_config),
]
