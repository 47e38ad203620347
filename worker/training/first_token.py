"""The last layer of an encoder, computed for the one token that its head reads.

Legend: B sequences, T positions, D hidden width, H heads, W width of a head.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    BertForSequenceClassification,
    CamembertForSequenceClassification,
    DistilBertForSequenceClassification,
    ElectraForSequenceClassification,
    RobertaForSequenceClassification,
    XLMRobertaForSequenceClassification,
)

from worker.training.students import layer_list


@dataclass(frozen=True)
class Parts:
    """Where a layer's parts are, as names from the layer on."""

    attention: str
    """The module that asks, is asked and answers: the tokens meet in it."""
    projections: tuple[str, str, str]
    """Of query, key and value, from the attention on."""
    output: str | None
    """What the attention does with its answer before it returns."""
    after: str
    """The module from which on tokens do not meet; it is given the layer's input as well."""


BERT = Parts("attention.self", ("query", "key", "value"), None, "attention.output")
PARTS: dict[type[nn.Module], Parts] = {
    BertForSequenceClassification: BERT,
    CamembertForSequenceClassification: BERT,
    DistilBertForSequenceClassification: Parts("attention", ("q_lin", "k_lin", "v_lin"), "out_lin", "sa_layer_norm"),
    ElectraForSequenceClassification: BERT,
    RobertaForSequenceClassification: BERT,
    XLMRobertaForSequenceClassification: BERT,
}
"""Classifiers whose head reads the first token alone."""
ATTENTIONS: Any = AttentionInterface()  # type: ignore[no-untyped-call]
"""What attends, by the name in a model's config."""


@contextlib.contextmanager
def first_token_alone(model: nn.Module) -> Iterator[None]:
    """Within this, the first token alone asks in the last layer's attention and goes on from there.

    Logits and gradients are what they are without it: the other tokens' last states reach no head. Most of a layer's
    work is saved: nearly a third of it all in three layers. Models that are not known to read so are left as they are.
    The last hidden states are [B, 1, D] meanwhile, so this is not for those who ask for hidden states.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    parts = PARTS.get(type(plain))
    if parts is None:
        yield
        return
    name, count = layer_list(plain)  # type: ignore[arg-type]
    layer = plain.get_submodule(f"{name}.{count - 1}")
    attention: Any = layer.get_submodule(parts.attention)
    hook = layer.get_submodule(parts.after).register_forward_pre_hook(_first)
    if not attention.is_causal and attention.config._attn_implementation in ATTENTIONS:
        attention.forward = _Asking(attention, parts)
    try:
        yield
    finally:
        hook.remove()
        vars(attention).pop("forward", None)


def _first(_module: nn.Module, states_BTD: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(states[:, :1] if isinstance(states, Tensor) else states for states in states_BTD)


@dataclass(frozen=True)
class _Asking:
    """Stands for an attention's forward; other tokens than the first are asked, and do not ask."""

    attention: Any
    parts: Parts

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> tuple[Tensor, None]:
        mask = attention_mask if attention_mask is None else attention_mask[:, :, :1]
        attended = ATTENTIONS[self.attention.config._attn_implementation]
        dropout = self.attention.dropout.p if self.attention.training else 0.0
        asked = (hidden_states[:, :1], hidden_states, hidden_states)
        projections = zip(self.parts.projections, asked, strict=True)
        heads_BHTW = [self._heads(self.attention.get_submodule(name)(states)) for name, states in projections]
        read_B1HW, _ = attended(self.attention, *heads_BHTW, mask, dropout=dropout, scaling=self.attention.scaling)
        read_B1D = read_B1HW.flatten(2)
        return (
            read_B1D if self.parts.output is None else self.attention.get_submodule(self.parts.output)(read_B1D),
            None,
        )

    def _heads(self, states_BTD: Tensor) -> Tensor:
        width: int = self.attention.attention_head_size
        return states_BTD.view(*states_BTD.shape[:2], -1, width).transpose(1, 2)
