"""What a classifier says of a batch, by as little work as can be: no padding, and no more tokens than its head reads.

Legend: B examples, C classes, T positions, D hidden width.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from worker.training.first_token import first_token_alone
from worker.training.unpadded import is_worth, reads_unpadded, without_padding

Inputs = Mapping[str, Tensor]
"""What a model is called with, as `Reading.batch` gives it."""


def class_logits(model: nn.Module, inputs: Inputs) -> Tensor:
    """Return logits [B, C]; they and their gradients are what the model gives when it is simply called."""
    return _in_one_row(model, inputs) if is_unpadded(model, inputs) else _as_ever(model, inputs)


def with_hidden_states(model: nn.Module, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return logits [B, C] and the hidden states [B, T, D] after the embedding and each layer; of padding whatever."""
    with without_padding(model) if is_unpadded(model, inputs) else nullcontext():
        found: Any = model(**inputs, output_hidden_states=True)
    return found.logits, found.hidden_states


def is_unpadded(model: nn.Module, inputs: Inputs) -> bool:
    """Tell whether a batch is read without padding: it is one of texts, and the model bears it."""
    mask_BT = inputs.get("attention_mask")
    return mask_BT is not None and is_worth(model, mask_BT) and prepared(model)


def prepared(model: nn.Module) -> bool:
    """Tell whether the model reads texts without padding. The first time it is tried."""
    return reads_unpadded(model, _tried_as_ever, _tried_in_one_row)


def _as_ever(model: nn.Module, inputs: Inputs) -> Tensor:
    with first_token_alone(model):
        found: Tensor = model(**inputs).logits
    return found


def _in_one_row(model: nn.Module, inputs: Inputs) -> Tensor:
    with without_padding(model):
        return _as_ever(model, inputs)


def _tried_as_ever(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Return logits and the last hidden states, [S, D]: a head that has not learned yet may hide what they are."""
    states_BTD = model(**inputs, output_hidden_states=True).hidden_states[-1]
    return [_as_ever(model, inputs), states_BTD[inputs["attention_mask"].bool()]]


def _tried_in_one_row(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    with without_padding(model):
        return _tried_as_ever(model, inputs)
