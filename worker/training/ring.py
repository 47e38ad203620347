"""An optimizer step that several processes take together, each with its share of the examples."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from worker.training.goal import Counts
from worker.training.leading import Leader
from worker.training.shards import Shards
from worker.training.sharing import Share

FIRST = 0
"""The process that speaks with the world, takes the step and keeps what is learned."""
SECONDS_BETWEEN_LOOKS = 0.02
LONGEST_WAIT = timedelta(days=30)
"""As long as a job may run: while the first evaluates, the others wait. One that has ended is noticed otherwise."""


class PeerLost(Exception):
    """Another process of the training does not answer: it has ended."""


@dataclass(frozen=True)
class Step:
    """One process's part of an optimizer step."""

    batches: list[dict[str, Any]]
    """Those of its micro-batches that have a row for it."""
    counts: Counts
    """Of the whole step, over all processes."""
    is_idle: list[bool]
    """Of each batch: True where it is another process's, read along because all must read layers that are spread."""


class Ring:
    """This process's place among those that train together; all of them make the same calls in the same order."""

    def __init__(self, share: Share) -> None:
        self.share, self.rank, self.size = share, dist.get_rank(), dist.get_world_size()
        self.shards = Shards(share.pupil, self.rank, self.size) if share.is_sharded else None
        self.leader = Leader(self.shards, self._tell) if self.shards is not None and self.rank == FIRST else None
        spread = self.shards.places if self.shards is not None else {}
        self.learned = [one for one in share.pupil.parameters() if one.requires_grad and id(one) not in spread]
        """What every process has whole; what is spread is in `shards`."""
        total = sum(parameter.numel() for parameter in self.learned)
        self.flat = torch.empty(total, dtype=torch.float32, device=next(share.pupil.parameters()).device)

    def begin(self, rows: Sequence[Sequence[int]] | None = None, step: int = 0) -> Step | None:
        """Share out a step's examples; the first process says them (per micro-batch), and the others hear them.

        All learn with the weights of the first. Returns None where it says that there is no further step.
        """
        rows, step = self._tell("begin", rows, step) if self.rank == FIRST else self._hear_step()
        if rows is None:
            return None
        self._hear_weights()
        if self.rank != FIRST:
            torch.manual_seed(seed_of(self.share.seed, step, self.rank))
        own = [some[self.rank :: self.size] for some in rows]
        is_idle = [not len(some) for some in own]
        if self.shards is not None:
            own = [some if len(some) else whole[:1] for some, whole in zip(own, rows, strict=True)]
        else:
            own, is_idle = [some for some in own if len(some)], [False] * (len(own) - sum(is_idle))
        batches = [self.share.lessons.collate(some) for some in own]
        counted = [batch for batch, idles in zip(batches, is_idle, strict=True) if not idles]
        each: list[Any] = [None] * self.size
        with _together():
            dist.all_gather_object(each, self.share.aim.counts(counted))
        return Step(batches, {name: sum(counts[name] for counts in each) for name in each[FIRST]}, is_idle)

    def _tell(self, what: str, *how: Any) -> Any:
        """Say what all do now; returns `how`."""
        with _together():
            dist.broadcast_object_list([(what, *how)], src=FIRST)
        return how

    def _hear_step(self) -> Any:
        """Do what the first process asks for, until it begins a step."""
        while True:
            told: list[Any] = [None]
            with _together():
                dist.broadcast_object_list(told, src=FIRST)
            what, *how = told[0]
            if what == "begin":
                return how
            getattr(self.shards, what)(*how)

    def end(self) -> None:
        """Tell the others that there is no further step."""
        self.begin(None)

    def gather(self, said: dict[str, float]) -> dict[str, float]:
        """Sum in the first process the gradients of all; returns the sums of what the others said, by name.

        They lie in `flat` until the next step begins.
        """
        squares = self.shards.squares() if self.shards is not None else 0.0
        told = (said, [parameter.grad is not None for parameter in self.learned], squares)
        each: list[Any] | None = [None] * self.size if self.rank == FIRST else None
        self._lay_flat([_gradient(parameter) for parameter in self.learned])
        with _together():
            dist.gather_object(told, each, dst=FIRST)
            if self.learned:
                dist.reduce(self.flat, dst=FIRST)
        if each is None:
            return {}
        # What nobody has used has no gradient, so that the optimizer leaves it alone.
        used = [any(some) for some in zip(*(flags for _, flags, _ in each), strict=True)]
        for parameter, part, is_used in zip(self.learned, self._parts(), used, strict=True):
            parameter.grad = part if is_used else None
        if self.leader is not None:
            self.leader.hear([parameter.grad for parameter in self.learned], sum(one for _, _, one in each))
        others = [one for one, _, _ in each[FIRST + 1 :]]
        return {name: sum(one.get(name, 0.0) for one in others) for name in {name for one in others for name in one}}

    @torch.no_grad()
    def _hear_weights(self) -> None:
        if not self.learned:
            return
        if self.rank == FIRST:
            self._lay_flat([parameter.detach() for parameter in self.learned])
        with _together():
            dist.broadcast(self.flat, src=FIRST)
        if self.rank != FIRST:
            for parameter, part in zip(self.learned, self._parts(), strict=True):
                parameter.copy_(part)

    def _lay_flat(self, tensors: Sequence[Tensor]) -> None:
        for part, tensor in zip(self._parts(), tensors, strict=True):
            part.copy_(tensor)

    def _parts(self) -> Iterator[Tensor]:
        """Yield a view of each parameter's place in `flat`."""
        start = 0
        for parameter in self.learned:
            yield self.flat[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def seed_of(seed: int, step: int, rank: int) -> int:
    """Return what a process other than the first draws from at a step, whatever it drew before."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


@contextmanager
def joined(meeting: Path, rank: int, size: int, look: Callable[[], None] | None = None) -> Iterator[None]:
    """Be in the group of `size` processes that meet in a file that was not there before.

    `look` is called while they come, and may raise where one cannot.
    """
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, loopback_interface())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined] # public, and not among what it says it exports
    store.set(f"here-{rank}", "")
    while not store.check([f"here-{other}" for other in range(size)]):
        if look is not None:
            look()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def loopback_interface() -> str:
    """Return the name of the interface that this machine alone reaches: what is said there is for nobody else."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def is_parting(error: BaseException) -> bool:
    """Tell whether something failed because another process has gone: a pass through a layer that is spread says so in
    the words of what it sends with."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


@contextmanager
def _together() -> Iterator[None]:
    """torch says that a peer has gone in one of many sentences, as RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(str(error)) from error
