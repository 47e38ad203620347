"""A pupil's layers, spread over the processes that train it: weights, gradients and what the optimizer remembers.

Each process keeps a part of every layer and has the others' while it computes that layer (ZeRO stage 3: Rajbhandari et
al. 2020, section 5.3), by torch's fully_shard. What is outside of layers, such as embeddings and head, each has whole.
"""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from core.errors import StudentUnusable
from worker.training.device import device
from worker.training.models import body
from worker.training.pupil import Pupil
from worker.training.students import layer_list

MOMENTS = ("exp_avg", "exp_avg_sq")
TOLD = ("lr", "weight_decay", "betas", "eps")
"""What of the first process's optimizer the others' need to know."""
BYTES_LEARNED, BYTES_FROZEN = 20, 4
"""Of each parameter in the first process: its weight, and where it learns gradient, two moments, and what travels."""
DROPS_LAYERS = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
"""In a model's config: the share of layers that a step leaves out, drawn by each process for itself."""
FULL = 0.7
"""Share of a device's memory that these may take; the rest is for what is computed."""

Groups = Sequence[tuple[Sequence[int], dict[str, Any]]]
"""Groups of an optimizer: places in `Shards.learned`, and TOLD of them."""
Moments = dict[str, Any]
"""Tensors by name, whole or as parts."""


class Shards:
    """One process's part of the layers. What is done to all parts, all processes do together, in the same order."""

    def __init__(self, pupil: Pupil, rank: int, size: int) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.tensor import DTensor

        self.is_first = rank == 0
        mesh = init_device_mesh(device().type, (size,))
        self.layers: list[Any] = [
            fully_shard(layer, mesh=mesh, reshard_after_forward=True) for layer in layers_of(pupil)
        ]
        root = body(pupil.plain())
        whole = {parameter for parameter in root.parameters() if not isinstance(parameter, DTensor)}
        self.root: Any = fully_shard(root, mesh=mesh, ignored_params=whole)
        """Where a pass through the layers begins: it spreads nothing itself, and lets them prefetch each other."""
        # fully_shard makes another class of it, and by its class transformers knows which hidden states it can record.
        _CAN_RECORD_REGISTRY[root] = root._can_record_outputs  # type: ignore[index, assignment]
        # It has nothing to gather before a backward pass, which a view of what it returns could pass by.
        warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \({type(self.root).__name__}\)", UserWarning)
        for layer in self.layers:
            layer.set_gradient_divide_factor(1.0)  # losses are shares of the step's: gradients are summed
            layer.set_force_sum_reduction_for_comms(True)
            layer.set_reduce_scatter_unused_params(True)  # such as an expert's that no token of one process reaches
        self.parts: dict[str, Any] = {name: one for name, one in pupil.named_parameters() if isinstance(one, DTensor)}
        """By their name in the pupil."""
        self.learned: list[Any] = [part for part in self.parts.values() if part.requires_grad]
        self.places = {id(part): place for place, part in enumerate(self.learned)}
        self.optimizer: Optimizer | None = None
        """What steps `learned`; the first process's steps the rest as well."""

    def lend(self) -> None:
        """Give the first process all layers whole, so that it can compute with them alone."""
        self.root.set_reshard_after_forward(False)
        for layer in self.layers:
            layer.unshard()
            if not self.is_first:
                layer.reshard()

    def take_back(self) -> None:
        """End what `lend` began."""
        for layer in self.layers:
            layer.reshard()
            layer.set_reshard_after_forward(True)
        if self.is_first:
            # Forget these passes, of which the others know nothing. Before the first one there is nothing to forget.
            with suppress(AttributeError):
                self.root.reset_iter_state()

    def whole(self) -> dict[str, Tensor]:
        """Return the layers' weights by their name in the pupil, on the CPU; in the first process alone."""
        return {name: whole for name, part in self.parts.items() if (whole := self._whole(part.detach())) is not None}

    def remembered(self) -> list[Moments]:
        """Return the optimizer's moments of all that is `learned`, on the CPU; in the first process alone."""
        assert self.optimizer is not None
        found = []
        for part in self.learned:
            state = self.optimizer.state[part]
            found.append({name: whole for name in MOMENTS if (whole := self._whole(state[name])) is not None})
        return found

    def _whole(self, part: Any) -> Tensor | None:
        whole: Tensor = part.full_tensor()
        return whole.cpu() if self.is_first else None

    def spread(self, moments: Sequence[Moments] | None = None) -> list[Moments]:
        """Return this process's part of the moments that the first one gives, of all that is `learned`."""
        from torch.distributed.tensor import distribute_tensor

        found = []
        for place, part in enumerate(self.learned):
            given = moments[place] if moments is not None else dict.fromkeys(MOMENTS, torch.empty(part.shape))
            mesh, placements = part.device_mesh, part.placements
            found.append({name: distribute_tensor(given[name].to(device()), mesh, placements) for name in MOMENTS})
        return found

    def squares(self) -> float:
        """Return the sum of the squares of this process's part of the gradients."""
        return sum(float(part.grad.to_local().square().sum()) for part in self.learned if part.grad is not None)

    def scale(self, factor: float) -> None:
        """Multiply this process's part of the gradients."""
        for part in self.learned:
            if part.grad is not None:
                part.grad.to_local().mul_(factor)

    def groups(self) -> Groups:
        """Return what the others' optimizers need to know of this one."""
        assert self.optimizer is not None
        found = []
        for group in self.optimizer.param_groups:
            places = [self.places[id(one)] for one in group["params"] if id(one) in self.places]
            if places:
                found.append((places, {name: group[name] for name in TOLD}))
        return found

    def step(self, groups: Groups) -> None:
        """Let this process's own optimizer step as the first one's does. For the others."""
        self._own_optimizer(groups).step()

    def remember(self, groups: Groups, step: float) -> None:
        """Take over what the first process's optimizer remembers after so many steps. For the others."""
        optimizer = self._own_optimizer(groups)
        for part, moments in zip(self.learned, self.spread(), strict=True):
            optimizer.state[part] = {"step": torch.tensor(step, device=part.device), **moments}

    def _own_optimizer(self, groups: Groups) -> Optimizer:
        if self.optimizer is None:
            made = [{"params": [self.learned[place] for place in places], **told} for places, told in groups]
            self.optimizer = AdamW(made, fused=True)
        for own, (_, told) in zip(self.optimizer.param_groups, groups, strict=True):
            own.update(told)
        return self.optimizer


def layers_of(pupil: Pupil) -> list[nn.Module]:
    """Return the pupil's transformer layers.

    Raises:
        StudentUnusable: it has none that could be told apart from the rest.
    """
    plain = pupil.plain()
    drops = [name for name in DROPS_LAYERS if getattr(plain.config, name, 0)]
    if drops:
        raise StudentUnusable(
            f"resources.sharded needs every layer in each process at each step, and {drops[0]} of the model's config "
            "leaves some out"
        )
    try:
        name, _ = layer_list(plain)
    except StudentUnusable as error:
        raise StudentUnusable(
            f"resources.sharded spreads layers, and a model of type {plain.config.model_type} has no list of them"
        ) from error
    return list(plain.get_submodule(name).children())


def is_too_large(pupil: Pupil) -> bool:
    """Tell whether one GPU could not hold what a training of the pupil keeps, and its layers can be spread."""
    if device().type != "cuda" or pupil.has_adapters:
        return False
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in pupil.parameters()]
    kept = sum(count * (BYTES_LEARNED if learns else BYTES_FROZEN) for count, learns in sizes)
    if kept <= FULL * torch.cuda.mem_get_info()[1]:
        return False
    try:
        return bool(layers_of(pupil))
    except StudentUnusable:
        return False
