"""What a process needs to take part in a training, on its way through a file."""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from worker.training.device import Precision, device
from worker.training.goal import Course, Goal
from worker.training.pupil import Pupil

FORWARD_HOOKS = frozenset({"_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"})


@dataclass(frozen=True)
class Share:
    pupil: Pupil
    lessons: Course
    aim: Goal
    seed: int
    precision: Precision
    is_sharded: bool = False
    """Whether the pupil's layers are spread over the processes."""


def write_share(share: Share, path: Path) -> None:
    """Write it for processes of this job alone: what is read again is code as well as numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(share, path, pickle_module=_Pickling)


def read_share(path: Path) -> Share:
    """Return what the job's first process wrote, with its models on this process's device."""
    share = torch.load(path, map_location=device(), weights_only=False)
    assert isinstance(share, Share)
    return share


class _Pickler(pickle.Pickler):
    """Lets arrays that lie in files stay there, and leaves behind what a model has of this process alone."""

    def reducer_override(self, found: Any) -> Any:
        if isinstance(found, nn.Module):
            return _without_hooks(found)
        # A part of a mapped array has its file's name, but not its own place in the file.
        if isinstance(found, np.memmap) and is_whole(found.base) and found.flags.c_contiguous:
            return _mapped, (str(found.filename), found.dtype, found.offset, found.shape)
        return NotImplemented


def _without_hooks(module: nn.Module) -> Any:
    """Say how a module is made again. transformers hooks models that were asked for hidden states, by functions that
    cannot be pickled, and hooks them again where they are asked."""
    made: Any = module.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    make, arguments, state, *more = made
    state = {name: OrderedDict() if name in FORWARD_HOOKS else value for name, value in state.items()}
    state.pop("_output_capturing_hooks_installed", None)
    if isinstance(module, PreTrainedModel):
        make, arguments = _known, (type(module), module.config)
    return make, arguments, state, *more


def _known(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    """Return an empty model of a class of which one was made before: what transformers notes then, it needs later."""
    with torch.device("meta"):
        kind(config)
    return kind.__new__(kind)


def is_whole(owner: Any) -> bool:
    """Tell whether what owns an array's memory is a file's mapping itself, and not another array of it."""
    return isinstance(owner, mmap)


class _Pickling:
    Pickler = _Pickler


def _mapped(path: str, kind: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.memmap(path, dtype=kind, mode="r", offset=offset, shape=shape)
