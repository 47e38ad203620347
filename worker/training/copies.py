"""Copies of what a training changes at its next step, so that they can be written while it goes on."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import recursively_apply
from torch import Tensor
from transformers import PreTrainedModel

from worker.training.device import device


def are_wanted() -> bool:
    """Tell whether checkpoints are written from copies: where the model is on a GPU, whose machine has memory and cores
    to spare. On a CPU the copy would take what the training itself needs."""
    return device().type == "cuda"


def shell_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model of the same class and settings without weights, to be saved with copies of them: what is in
    training meanwhile is not touched."""
    with torch.device("meta"):
        shell = type(model)(copy.deepcopy(model.config))
    if model.can_generate():
        shell.generation_config = copy.deepcopy(model.generation_config)
    return shell


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU. What is one tensor under two names, such as tied weights, stays one."""
    made: dict[tuple[Any, ...], Tensor] = {}
    found = {}
    for name, tensor in weights.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if place not in made:
            made[place] = _copy(tensor)
        found[name] = made[place]
    return found


def copied_state(said: dict[str, Any]) -> dict[str, Any]:
    """Return an optimizer's state with copies of its tensors, on the CPU."""
    found: dict[str, Any] = recursively_apply(_copy, said)
    return found


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
