"""Where a student that writes comes from: a folder, layers of the teacher, or a config."""

import copy
from pathlib import Path
from typing import Any

from peft import TaskType
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from core.errors import StudentUnusable
from core.students import LoraSpec, StudentSpec
from worker.training.language.models import check_head, fresh_writer, load_writer
from worker.training.models import Loaded
from worker.training.students import Student, built, mark_trainable, of_layers, required, with_lora


def build_writer(spec: StudentSpec, folder: Path | None, teacher: Loaded | None, seed: int) -> Student:
    """Make the student as it is before it learns, the same for the same seed, and freeze what does not learn.

    Of a teacher that is not here (None) nothing can be taken: such a student has a folder with a tokenizer.

    Raises:
        StudentUnusable: the config or the layers make no model, or none of its parameters learns.
        ModelUnreadable: the folder does not hold one.
    """
    student = _built(spec, folder, teacher, seed)
    mark_trainable(student, spec)
    return student


def _built(spec: StudentSpec, folder: Path | None, teacher: Loaded | None, seed: int) -> Student:
    if teacher is None:
        return _loaded(spec, folder, None)
    tokenizer = required(teacher.tokenizer)
    if spec.config is not None:
        model = built(spec, tokenizer, teacher.model.config.vocab_size, seed, fresh_writer, "language model")
        check_head(model, "student")
        _say_how_it_ends(model, teacher.model, tokenizer)
        return Student(model, tokenizer, frozenset(name for name, _ in model.named_parameters()))
    if spec.from_teacher is not None:
        model = of_layers(spec.from_teacher.layers, teacher.model, seed, fresh_writer)
        _say_how_it_ends(model, teacher.model, tokenizer)
        return Student(model, tokenizer, frozenset())
    return _loaded(spec, folder, tokenizer)


def _loaded(spec: StudentSpec, folder: Path | None, instead: PreTrainedTokenizerBase | None) -> Student:
    """Load the student, with a tokenizer to use instead where it has none of its own."""
    if folder is None:
        raise StudentUnusable("the student's folder was not given")
    loaded = load_writer(folder, spec.model or "student", needs_tokenizer=instead is None)
    return Student(loaded.model, loaded.tokenizer or required(instead), frozenset())


def _say_how_it_ends(model: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """A student stops where its teacher stops; how either samples is left to whoever uses it."""
    own: Any = model.generation_config
    theirs: Any = teacher.generation_config
    if own is None:
        return
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(own, name, getattr(theirs, name, None) or getattr(tokenizer, name))


def writer_with_lora(model: PreTrainedModel, lora: LoraSpec | None, seed: int) -> nn.Module:
    """Return a copy of the model, with adapters where they are asked for."""
    return with_lora(model, lora, seed, TaskType.CAUSAL_LM) if lora is not None else copy.deepcopy(model)
