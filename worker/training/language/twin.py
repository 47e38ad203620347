"""A model as it writes fastest: with weights in the precision that it computes in."""

import copy
import weakref

import torch
from transformers import PreTrainedModel

from worker.training.device import Precision


class Twin:
    """Keeps a bf16 copy of a model that learns. In float32, in which weights learn, every weight would be cast
    for every token, or at best read at twice its size.

    What is computed beside the weights (rotary frequencies, say) stays as it is. The copy ends with its model.
    """

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._source: weakref.ref[PreTrainedModel] | None = None
        self._copy: PreTrainedModel | None = None

    def of(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model's twin with its present weights; in fp32 the model is its own."""
        if self.precision == "fp32":
            return model
        if self._copy is None or self._source is None or self._source() is not model:
            self._copy = None  # before there is another one
            self._source = weakref.ref(model, self._forget)
            self._copy = rounded(model)
            return self._copy
        with torch.no_grad():
            for own, learned in zip(self._copy.parameters(), model.parameters(), strict=True):
                own.copy_(learned)
        return self._copy

    def _forget(self, source: weakref.ref[PreTrainedModel]) -> None:
        """Let the copy go with the model that it is one of."""
        if source is self._source:
            self._copy = None


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy whose weights are bf16, and learn nothing."""
    twin = copy.deepcopy(model).requires_grad_(False)
    for weight in twin.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return twin
