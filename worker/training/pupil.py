"""A model in training: itself, and the projections that are learned with it and left behind at export.

Legend: B examples, C classes, T positions, D hidden width.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from core.errors import StudentUnusable
from core.methods import HiddenSpec
from worker.training.attention import attend_here
from worker.training.classifying import class_logits, prepared, with_hidden_states
from worker.training.device import Precision, autocast, put_on_device
from worker.training.dropout import quicken
from worker.training.students import layer_list


@dataclass(frozen=True)
class Mapping:
    """Which hidden states meet, as indices into a model's `hidden_states` (0 is the embedding, 1 the first layer)."""

    teacher: tuple[int, ...]
    student: tuple[int, ...]
    teacher_width: int
    student_width: int


def mapping_of(spec: HiddenSpec, teacher: PreTrainedModel, student: PreTrainedModel) -> Mapping:
    """Pair layers as the spec says, or spread evenly with the last on the last.

    Raises:
        StudentUnusable: a pair names a layer that is not there.
    """
    n_teacher, n_student = layer_list(teacher)[1], layer_list(student)[1]
    pairs = spec.layers or tuple((round((at + 1) * n_teacher / n_student) - 1, at) for at in range(n_student))
    for of_teacher, of_student in pairs:
        if of_teacher >= n_teacher or of_student >= n_student:
            raise StudentUnusable(
                f"method.hidden.layers pairs [{of_teacher}, {of_student}]; the teacher has layers 0 to "
                f"{n_teacher - 1}, the student 0 to {n_student - 1}"
            )
    return Mapping(
        tuple(max(0, of_teacher) + 1 for of_teacher, _ in pairs),
        tuple(of_student + 1 for _, of_student in pairs),
        teacher.config.hidden_size,
        student.config.hidden_size,
    )


class Pupil(nn.Module):
    """Wraps the model so that projections are parameters like any other: optimized, clipped, kept in checkpoints."""

    def __init__(self, model: nn.Module, mapping: Mapping | None = None, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.mapping = mapping
        self.projections = nn.ModuleList()
        if mapping is not None and mapping.teacher_width != mapping.student_width:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                for _ in mapping.student:
                    self.projections.append(nn.Linear(mapping.student_width, mapping.teacher_width, bias=False))

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return logits [B, C] and the mapped hidden states [B, T, D] in the teacher's width."""
        if self.mapping is None:
            return class_logits(self.model, inputs), []
        logits_BC, states = with_hidden_states(self.model, inputs)
        hidden = [states[layer] for layer in self.mapping.student]
        if self.projections:
            hidden = [projection(states) for projection, states in zip(self.projections, hidden, strict=True)]
        return logits_BC, hidden

    def ready(self, precision: Precision) -> "Pupil":
        """Prepare to learn: dropout draws quickly, and it is known whether texts are read without padding."""
        put_on_device(self)
        quicken(self)
        attend_here(self)
        with autocast(precision):
            self.try_unpadded()
        return self

    def try_unpadded(self) -> bool:
        """Tell whether texts are read without padding; a model whose layers are spread cannot be tried any more."""
        return self.model.main_input_name == "input_ids" and prepared(self.model)

    def plain(self) -> PreTrainedModel:
        """Return the model as transformers knows it: adapters merged (in a copy), projections left out."""
        model: Any = self.model
        if isinstance(model, PeftModel):
            model = copy.deepcopy(model).merge_and_unload()
        if not isinstance(model, PreTrainedModel):
            raise TypeError(f"{type(model).__name__} is no transformers model")
        return model

    @property
    def has_adapters(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def extra_state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the plain model: adapters and the trained head, or projections."""
        return {
            name: parameter.detach()
            for name, parameter in self.named_parameters()
            if name.startswith("projections.") or (self.has_adapters and parameter.requires_grad)
        }
