"""The last layer of an encoder, computed for the one token that its head reads.

Legend: B sequences, T positions, D hidden width, H heads, W width of a head.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
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

from worker.training.attention import counts_in
from worker.training.models import plain_of
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
    plain = plain_of(model)
    parts = PARTS.get(type(plain))
    if parts is None:
        yield
        return
    name, count = layer_list(plain)
    layer = plain.get_submodule(f"{name}.{count - 1}")
    attention: Any = layer.get_submodule(parts.attention)
    asking = _Asking(attention, parts)
    hook = layer.get_submodule(parts.after).register_forward_pre_hook(asking.first_of_each)
    if not attention.is_causal and attention.config._attn_implementation in ATTENTIONS:
        attention.forward = asking
    try:
        yield
    finally:
        hook.remove()
        vars(attention).pop("forward", None)


@dataclass
class _Asking:
    """Stands for an attention's forward; other tokens than the first are asked, and do not ask."""

    attention: Any
    parts: Parts
    starts: Tensor | None = None
    """Where each text of the batch begins, if they lie end to end."""

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> tuple[Tensor, None]:
        counts = counts_in(attention_mask)
        self.starts = None if counts is None else torch.tensor([0, *accumulate(counts[:-1])]).to(hidden_states.device)
        mask = attention_mask if attention_mask is None or counts is not None else attention_mask[:, :, :1]
        attended = ATTENTIONS[self.attention.config._attn_implementation]
        dropout = self.attention.dropout.p if self.attention.training else 0.0
        asked = (self._first(hidden_states), hidden_states, hidden_states)
        projections = zip(self.parts.projections, asked, strict=True)
        heads_BHTW = [self._heads(self.attention.get_submodule(name)(states)) for name, states in projections]
        read, _ = attended(self.attention, *heads_BHTW, mask, dropout=dropout, scaling=self.attention.scaling)
        read = read.flatten(2)
        if self.parts.output is None:
            return read, None
        read = self.attention.get_submodule(self.parts.output)(read)
        if self.starts is not None:  # its input is added to it next, which knows of all tokens
            read = read.new_zeros(hidden_states.shape).index_copy(1, self.starts, read)
        return read, None

    def first_of_each(self, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let what comes after the attention see the first tokens alone, [B, 1, D]."""
        return tuple(self._cut(one) if isinstance(one, Tensor) else one for one in given)

    def _cut(self, states: Tensor) -> Tensor:
        if self.starts is None:
            return states[:, :1]
        first_1BD = states if states.shape[1] == len(self.starts) else self._first(states)
        return first_1BD.transpose(0, 1)

    def _first(self, states: Tensor) -> Tensor:
        """Return [B, 1, D] of a padded batch, [1, B, D] of texts end to end."""
        return states[:, :1] if self.starts is None else states[:, self.starts]

    def _heads(self, states_BTD: Tensor) -> Tensor:
        width: int = self.attention.attention_head_size
        return states_BTD.view(*states_BTD.shape[:2], -1, width).transpose(1, 2)
