"""Whether OpenVINO writes: where it is there, is worth its conversion, and says what transformers says.

Shapes: B sequences, T positions, V vocabulary.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from core.errors import EngineUnavailable
from core.methods import EngineName
from worker.training.device import Precision, device, device_name
from worker.training.generation.compiled.conversion import FORMAT, NotConvertible, convert
from worker.training.generation.compiled.engine import OpenVinoEngine
from worker.training.generation.compiled.runtime import Runner, Setup, Weights, version_installed
from worker.training.generation.compiled.trial import TrialFailed, tried
from worker.training.generation.engine import writing

WORTH_TOKENS = 20_000
"""Texts of fewer tokens are written before a conversion has repaid itself."""
PROMPT_LENGTHS, STEPS = (5, 9), 3
FARTHEST = {"fp32": 1e-3, "bf16": 0.1}
"""How far logits may be from those of transformers in fp32, root mean squares, as a share of their deviation."""
FARTHEST_IN_8_BITS = 0.2


@dataclass(frozen=True)
class Wanted:
    """How a model is to write."""

    engine: EngineName
    precision: Precision
    tokens: int
    """At most how many will be written."""
    folder: Path
    """Where conversions are kept."""
    tell: Callable[[str], None]
    beat: Callable[[], None]
    """Called while something takes long; may raise to stop."""

    @property
    def weights(self) -> Weights:
        return "int8" if self.engine == "openvino_int8" else "whole"


def openvino_for(model: PreTrainedModel, wanted: Wanted) -> OpenVinoEngine | None:
    """Return OpenVINO ready to write with this model, or None where transformers is to.

    Raises:
        EngineUnavailable: OpenVINO was asked for by name and cannot.
    """
    if wanted.engine == "transformers" or (wanted.engine == "auto" and wanted.tokens < WORTH_TOKENS):
        return None
    absent = _absence(wanted.weights)
    if absent is not None:
        if wanted.engine != "auto":
            raise EngineUnavailable(wanted.engine, absent)
        return None
    try:
        return _agreeing(model, wanted)
    except NotConvertible as why:
        if wanted.engine != "auto":
            raise EngineUnavailable(wanted.engine, f"the teacher cannot write with it: {why}") from why
        wanted.tell(f"writing: with transformers, since OpenVINO cannot write with this model: {why}.")
        return None


def _absence(weights: Weights) -> str | None:
    if version_installed() is None:
        return "it is not installed on the worker"
    if weights == "int8" and version_installed("nncf") is None:
        return "nncf, which puts weights into 8 bits, is not installed on the worker"
    if device().type != "cpu":
        return f"it writes on the CPU, and this worker computes on {device().type}"
    return None


def _agreeing(model: PreTrainedModel, wanted: Wanted) -> OpenVinoEngine:
    setup = Setup(wanted.precision, torch.get_num_threads(), wanted.weights)
    file = converted(model, wanted.folder, wanted.beat, wanted.weights)
    said = [setup.settings, device_name()]
    mark = file.with_name(f"agrees-{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]}")
    if not mark.exists():
        check_agreement(model, file, setup, wanted.beat)
        mark.touch()
    return OpenVinoEngine(Runner(file, setup), wanted.weights)


def converted(model: PreTrainedModel, folder: Path, beat: Callable[[], None], weights: Weights = "whole") -> Path:
    """Return the model as OpenVINO reads it, from the folder where it was converted before; made whole or not at all.

    Raises:
        NotConvertible
    """
    place = folder / f"{digest_of(model, weights)}.openvino"
    file = place / "model.xml"
    beat()
    if file.exists() and file.with_suffix(".bin").exists():
        for one in place.iterdir():
            os.utime(one)
        return file
    unfinished = folder / f"{place.name}.{os.getpid()}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        convert(model, unfinished / file.name, weights)
        shutil.rmtree(place, ignore_errors=True)  # what a limit on the cache left of it
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    beat()
    return file


def digest_of(model: PreTrainedModel, weights: Weights) -> str:
    """Return a digest of the weights and of all else that a conversion depends on."""
    packages = ("openvino", "torch", "transformers", *(["nncf"] if weights == "int8" else []))
    versions = [version(name) for name in packages]
    digest = hashlib.sha256(json.dumps([FORMAT, weights, versions, model.config.to_json_string()]).encode())
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(json.dumps([name, str(weight.dtype), list(weight.shape)]).encode())
        digest.update(weight.detach().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_agreement(model: PreTrainedModel, file: Path, setup: Setup, beat: Callable[[], None]) -> None:
    """Let both read the same texts, padded and then token by token.

    Raises:
        NotConvertible: the conversion crashes, or says something else.
    """
    ids_BT, mask_BT = _texts(model)
    try:
        found_NBV = tried(file, ids_BT, mask_BT, STEPS, setup, beat)
    except TrialFailed as why:
        raise NotConvertible(f"a first try of it {why}") from why
    wanted_NBV = _expected(model, ids_BT, mask_BT)
    distance = float(np.sqrt(np.square(found_NBV - wanted_NBV).mean()) / wanted_NBV.std())
    farthest = FARTHEST_IN_8_BITS if setup.weights == "int8" else FARTHEST[setup.precision]
    if not distance <= farthest:
        raise NotConvertible(f"its logits are {distance:.1e} deviations from what transformers computes")


def _texts(model: PreTrainedModel) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    lengths = np.array(PROMPT_LENGTHS)[:, None] + STEPS
    width = int(lengths.max())
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids_BT = np.random.default_rng(0).integers(vocabulary, size=(len(lengths), width))
    return ids_BT, np.arange(width)[None, :] >= width - lengths


def _expected(model: PreTrainedModel, ids_BT: NDArray[np.int64], mask_BT: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what transformers says of each text alone, without padding: [STEPS + 1, B, V]."""
    told = []
    with torch.no_grad(), writing(model):
        for ids_T, mask_T in zip(ids_BT, mask_BT, strict=True):
            told.append(model(input_ids=torch.from_numpy(ids_T[mask_T])[None]).logits[0, -STEPS - 1 :].float().numpy())
    return np.stack(told, axis=1)
