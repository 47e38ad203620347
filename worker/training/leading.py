"""What the first of several processes does for all of them where a pupil's layers are spread."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from worker.training.shards import MOMENTS, Shards

Tell = Callable[..., object]
"""Tells the others by name what of their `Shards` to call, and with what."""


class Leader:
    """Speaks for all shards: one optimizer, one gradient and one set of weights, as if nothing were spread."""

    def __init__(self, shards: Shards, tell: Tell) -> None:
        self.shards, self.tell = shards, tell
        self.gradients: Sequence[Tensor | None] = ()
        self.norm = 0.0
        """Of the step's whole gradient."""

    def hear(self, gradients: Sequence[Tensor | None], squares: float) -> None:
        """Take a step's gradients: those of what every process has whole, and the sum of the squares of the rest."""
        self.gradients = gradients
        own = sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None)
        self.norm = math.sqrt(own + squares)

    def clip(self, most: float) -> float:
        """Shrink the whole gradient to a norm of at most `most`; returns what it was (torch's clip_grad_norm_)."""
        factor = most / (self.norm + 1e-6)
        if factor < 1.0:
            self.tell("scale", factor)
            self.shards.scale(factor)
            for gradient in self.gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        return self.norm

    def lead(self, optimizer: Optimizer) -> None:
        """Let an optimizer be the one of all: the others step with it, and the state that it says, and takes, is that
        of whole layers."""
        self.shards.optimizer = optimizer
        if not self.shards.learned:
            return
        optimizer.register_step_pre_hook(self._tell_step)
        optimizer.register_state_dict_post_hook(self._with_whole_moments)
        optimizer.register_load_state_dict_pre_hook(self._with_own_moments)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Within this, the first process has all of the pupil and may compute with it alone."""
        self.tell("lend")
        self.shards.lend()
        try:
            yield
        finally:
            self.tell("take_back")
            self.shards.take_back()

    def whole(self) -> dict[str, Tensor]:
        """Return the weights of the layers, by their name in the pupil, on the CPU."""
        self.tell("whole")
        return self.shards.whole()

    def _tell_step(self, *_: Any) -> None:
        self.tell("step", self.shards.groups())

    def _with_whole_moments(self, optimizer: Optimizer, said: dict[str, Any]) -> dict[str, Any]:
        if not said["state"]:
            return said
        self.tell("remembered")
        moments = self.shards.remembered()
        places = self._places(optimizer)
        whole = {at: state | (moments[places[at]] if at in places else {}) for at, state in said["state"].items()}
        return said | {"state": whole}

    def _with_own_moments(self, optimizer: Optimizer, said: dict[str, Any]) -> dict[str, Any]:
        if not said["state"]:
            return said
        places = self._places(optimizer)
        numbers = sorted(places, key=lambda at: places[at])
        states = [said["state"][at] for at in numbers]
        self.tell("remember", self.shards.groups(), float(states[0]["step"]))
        own = self.shards.spread([{name: state[name] for name in MOMENTS} for state in states])
        parts = {at: state | (own[places[at]] if at in places else {}) for at, state in said["state"].items()}
        return said | {"state": parts}

    def _places(self, optimizer: Optimizer) -> dict[int, int]:
        """Return, by the number of a parameter in an optimizer's state, its place among what is spread and learned."""
        every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        return {at: self.shards.places[id(one)] for at, one in enumerate(every) if id(one) in self.shards.places}
