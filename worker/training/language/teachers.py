"""Teachers in memory."""

from collections.abc import Sequence

from core.methods import EngineName
from worker.training.desk import Desk
from worker.training.device import device
from worker.training.exchange import Inputs
from worker.training.language.models import load_writer
from worker.training.language.states import prepared
from worker.training.language.twin import round_products
from worker.training.models import Loaded

CONVERTING: frozenset[EngineName] = frozenset({"auto", "openvino", "openvino_int8"})
"""Engines that read a teacher's weights as they are in its file."""


def load_teachers(inputs: Inputs) -> list[Loaded]:
    """Load a job's teachers with their tokenizers. Raises what `load_writer` raises."""
    wanted = inputs.spec.teacher_models
    return [load_writer(folder, one.model) for folder, one in zip(inputs.teachers, wanted, strict=True)]


def hold_lightly(desk: Desk, teachers: Sequence[Loaded]) -> None:
    """Give back what memory teachers do not need, once nobody copies their layers any more.

    Where a job computes in bf16 so do they, and hold in it what is multiplied with: 8 billion parameters, of which half
    a billion are embeddings, are 17 GB instead of 32. Experts, which transformers keep in one tensor for all, stay as
    they are, and so do teachers that will learn, or be converted.
    """
    if desk.precision == "fp32" or _converts(desk):
        return
    for wanted, teacher in zip(desk.spec.teacher_models, teachers, strict=True):
        if wanted.finetune is None:
            prepared(teacher.model)  # whether texts meet shows best before anything is rounded
            round_products(teacher.model)


def _converts(desk: Desk) -> bool:
    method = desk.spec.method
    return method.type == "sequence" and method.generation.engine in CONVERTING and device().type == "cpu"
