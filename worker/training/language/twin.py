"""A model as it writes fastest: with weights in the precision that it computes in."""

import copy

import torch
from transformers import PreTrainedModel

from worker.training.device import Precision


class Twin:
    """Keeps a bf16 copy of a model that learns. In float32, in which weights learn, every weight would be cast
    for every token, or at best read at twice its size.

    What is computed beside the weights (rotary frequencies, say) stays as it is.
    """

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._pair: tuple[PreTrainedModel, PreTrainedModel] | None = None

    def of(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model's twin with its present weights; in fp32 the model is its own."""
        if self.precision == "fp32":
            return model
        if self._pair is None or self._pair[0] is not model:
            self._pair = (model, rounded(model))
            return self._pair[1]
        with torch.no_grad():
            for own, learned in zip(self._pair[1].parameters(), model.parameters(), strict=True):
                own.copy_(learned)
        return self._pair[1]


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy whose weights are bf16, and learn nothing."""
    twin = copy.deepcopy(model).requires_grad_(False)
    for weight in twin.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return twin
