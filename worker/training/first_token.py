"""The last layer of an encoder, computed for the one token that its head reads.

Legend: B sequences, T positions, D hidden width.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    BertForSequenceClassification,
    CamembertForSequenceClassification,
    DistilBertForSequenceClassification,
    ElectraForSequenceClassification,
    RobertaForSequenceClassification,
    XLMRobertaForSequenceClassification,
)

from worker.training.students import layer_list

AFTER_ATTENTION: dict[type[nn.Module], str] = {
    BertForSequenceClassification: "attention.output",
    CamembertForSequenceClassification: "attention.output",
    DistilBertForSequenceClassification: "sa_layer_norm",
    ElectraForSequenceClassification: "attention.output",
    RobertaForSequenceClassification: "attention.output",
    XLMRobertaForSequenceClassification: "attention.output",
}
"""Classifiers whose head reads the first token alone, and the part of a layer from which on tokens do not meet."""


@contextlib.contextmanager
def first_token_alone(model: nn.Module) -> Iterator[None]:
    """Within this, the last layer goes on with the first token alone once attention has looked at all of them.

    Logits and gradients are what they are without it: the other tokens' last states reach no head. Most of a layer's
    work is saved: a third of it all in three layers. Models that are not known to read so are left as they are. The
    last hidden states are [B, 1, D] meanwhile, so this is not for those who ask for hidden states.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    place = AFTER_ATTENTION.get(type(plain))
    if place is None:
        yield
        return
    name, count = layer_list(plain)  # type: ignore[arg-type]
    hook = plain.get_submodule(f"{name}.{count - 1}.{place}").register_forward_pre_hook(_first)
    try:
        yield
    finally:
        hook.remove()


def _first(_module: nn.Module, states_BTD: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(states[:, :1] if isinstance(states, Tensor) else states for states in states_BTD)
