"""The objectives by the names that a spec uses. A further one is its module, a line here, the spec and the docs."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import Tensor

from core.methods import LogitsMethod, OnPolicyMethod
from worker.training.objectives.forward_kl import forward_kl
from worker.training.objectives.hidden import hidden_cosine, hidden_mse
from worker.training.objectives.jsd import jsd
from worker.training.objectives.mse import mse
from worker.training.objectives.reverse_kl import reverse_kl
from worker.training.objectives.tvd import tvd
from worker.training.objectives.uld import uld


class Objective(Protocol):
    def __call__(self, student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float) -> Tensor:
        """Return the sum over kept rows, times temperature squared; of uld as it is."""


HiddenObjective = Callable[[Tensor, Tensor, Tensor], Tensor]

DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jsd": jsd,
    "tvd": tvd,
    "mse": mse,
}
HIDDEN: dict[str, HiddenObjective] = {"cosine": hidden_cosine, "mse": hidden_mse}


def objective_of(method: LogitsMethod | OnPolicyMethod) -> Objective:
    """Return the divergence that `method` names, its own parameters filled in; uld takes its place."""
    if method.type == "logits" and method.alignment is not None:
        return uld
    divergence = DIVERGENCES[method.divergence]
    return partial(divergence, beta=method.beta) if method.divergence == "jsd" else divergence
