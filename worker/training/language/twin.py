"""Models with weights in the precision that they compute in: a copy that writes, and a teacher that only teaches."""

import copy
import weakref

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from worker.training.device import Precision

PRODUCTS = (nn.Linear, Conv1D)
"""What autocast computes in bf16, whatever its weights are."""


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
    """Return a copy whose weights are bf16, and learn nothing. Those that are bf16 already are not copied."""
    shared = {id(weight): weight for weight in model.parameters() if weight.dtype == torch.bfloat16}
    twin = copy.deepcopy(model, shared).requires_grad_(False)
    for weight in twin.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return twin


def round_products(model: PreTrainedModel) -> None:
    """Let a model that learns nothing hold in bf16 what autocast would cast at every call: half the memory, and under
    autocast the same numbers to the last bit. Weights that are looked up too, as tied embeddings are, stay."""
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    looked_up = {id(weight) for table in tables for weight in table.parameters()}
    for part in model.modules():
        for weight in part.parameters(recurse=False) if isinstance(part, PRODUCTS) else ():
            # Some add their bias beside the product, in the precision that it has.
            if weight.dim() > 1 and id(weight) not in looked_up:
                weight.data = weight.data.to(torch.bfloat16)
