"""Where students come from: a folder, layers of the teacher, or a config; and which of their parameters learn."""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN_TARGETS
from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from core.architectures import MOST_PARAMETERS
from core.errors import JobFailed, StudentUnusable
from core.students import LoraSpec, StudentSpec
from worker.training.labels import permutation_to
from worker.training.models import (
    Kind,
    Loaded,
    body,
    from_config,
    head_modules,
    head_parameters,
    load,
    load_tokenizer,
    pad_as,
    parameter_count,
    say_classes,
)
from worker.training.reading import Reader, tokenizer_of

MOST_LAYERS, MOST_WIDTH = 200, 32_768


@dataclass(frozen=True)
class Student:
    model: PreTrainedModel
    reader: Reader
    fresh: frozenset[str]
    """Names of parameters that no checkpoint gave; they learn even where only the head does."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """What reads, for a student that reads texts."""
        return tokenizer_of(self.reader)


def build(spec: StudentSpec, folder: Path | None, teacher: Loaded | None, classes: list[str], seed: int) -> Student:
    """Make a classifier of texts as it is before it learns, the same for the same seed.

    Copied layers are copied as the teacher is now: a teacher that is fine-tuned is fine-tuned before.

    Raises:
        StudentUnusable: the config or the layers make no model.
        ModelUnreadable: the folder does not hold one.
    """
    if folder is not None:
        loaded = from_folder(folder, spec.model or "student", classes, seed)
        tokenizer = (
            loaded.tokenizer or (teacher.tokenizer if teacher else None) or load_tokenizer(folder, spec.model or "")
        )
        pad_as(loaded.model, required(tokenizer))
        return Student(loaded.model, required(tokenizer), loaded.fresh)
    if teacher is None:
        raise StudentUnusable("the student's folder was not given")
    if spec.from_teacher is not None:
        model = of_layers(spec.from_teacher.layers, teacher.model, seed, from_config)
        return Student(model, required(teacher.tokenizer), frozenset())
    return _from_config(spec, teacher, classes, seed)


def from_folder(folder: Path, name: str, classes: list[str], seed: int, kind: Kind | None = None) -> Loaded:
    """Load a classifier and fit its head to the classes: their order where it knows them, a fresh one where not.

    Raises:
        ModelUnreadable: the folder does not hold one.
        StudentUnusable: the head cannot be reordered.
    """
    loaded = load(folder, name, seed, kind)
    order = permutation_to(loaded.classes, classes)
    if order is None or not loaded.has_head:
        loaded = load(folder, name, seed, kind, classes=classes, fresh_head=True)
    elif order != list(range(len(classes))):
        permute_head(loaded.model, order)
    say_classes(loaded.model.config, classes)
    return loaded


def permute_head(model: PreTrainedModel, order: list[int]) -> None:
    """Reorder the outputs of the head's last layer.

    Raises:
        StudentUnusable: the head has no last layer with one row per class.
    """
    last = [m for name in head_modules(model) for m in getattr(model, name).modules() if isinstance(m, nn.Linear)]
    if not last or last[-1].out_features != len(order):
        raise StudentUnusable(
            "the student's head has other classes than the data set, in a form that cannot be reordered"
        )
    last[-1].weight.data = last[-1].weight.data[order].clone()
    if last[-1].bias is not None:
        last[-1].bias.data = last[-1].bias.data[order].clone()


def _from_config(spec: StudentSpec, teacher: Loaded, classes: list[str], seed: int) -> Student:
    tokenizer = required(teacher.tokenizer)

    def build_classifier(config: PretrainedConfig) -> PreTrainedModel:
        say_classes(config, classes)
        return from_config(config)

    model = built(spec, tokenizer, teacher.model.config.vocab_size, seed, build_classifier, "classifier")
    return Student(model, tokenizer, frozenset(name for name, _ in model.named_parameters()))


def built(
    spec: StudentSpec,
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: int,
    seed: int,
    build_model: Callable[[PretrainedConfig], PreTrainedModel],
    kind: str,
) -> PreTrainedModel:
    """Return a model with random weights for `student.config`, its vocabulary and special tokens the tokenizer's.

    Raises:
        StudentUnusable: the config makes no model, or one beyond all bounds.
    """
    tokens: dict[str, Any] = {"vocab_size": max(len(tokenizer), vocabulary), "pad_token_id": tokenizer.pad_token_id}

    def build_with_words(config: PretrainedConfig) -> PreTrainedModel:
        say_special_tokens(config, tokenizer)
        if config.vocab_size < len(tokenizer):
            raise StudentUnusable(
                f"student.config.vocab_size is {config.vocab_size}; the tokenizer has {len(tokenizer)} words"
            )
        return build_model(config)

    return random_model(spec, tokens, seed, build_with_words, kind)


def random_model(
    spec: StudentSpec,
    defaults: Mapping[str, Any],
    seed: int,
    build_model: Callable[[PretrainedConfig], PreTrainedModel],
    kind: str,
) -> PreTrainedModel:
    """Return a model with random weights for the transformers config that `student.config` says, over `defaults`.

    Raises:
        StudentUnusable: the config makes no model, or one beyond all bounds.
    """
    said = spec.config if isinstance(spec.config, dict) else {}
    written: dict[str, Any] = {str(key): value for key, value in said.items()}
    model_type = str(written.pop("model_type"))
    for key, value in written.items():
        if isinstance(value, int) and not 0 <= value <= max(MOST_WIDTH, 10_000_000 if key == "vocab_size" else 0):
            raise StudentUnusable(f"student.config.{key} is {value}")
    try:
        config = AutoConfig.for_model(model_type, **{**defaults, **written})
        if getattr(config, "num_hidden_layers", 0) > MOST_LAYERS:
            raise StudentUnusable(
                f"student.config asks for {config.num_hidden_layers} layers; {MOST_LAYERS} is the most"
            )
        check_size(config, build_model)
        set_seed(seed)
        return build_model(config)
    except JobFailed:
        raise
    except Exception as error:
        raise StudentUnusable(f"student.config makes no {model_type} {kind}: {error}") from error


def say_special_tokens(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Architectures come with the token ids of their first vocabulary; the tokenizer's own are the true ones."""
    for name in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, getattr(tokenizer, name))


def check_size(config: PretrainedConfig, build_model: Callable[[PretrainedConfig], PreTrainedModel]) -> None:
    """A config is a few bytes and may ask for all memory there is: bound it before anything is allocated."""
    with torch.device("meta"):
        count = parameter_count(build_model(copy.deepcopy(config)))
    if count > MOST_PARAMETERS:
        raise StudentUnusable(f"student.config asks for {count:,} parameters; {MOST_PARAMETERS:,} is the most")


def of_layers(
    layers: tuple[int, ...],
    teacher: PreTrainedModel,
    seed: int,
    build_model: Callable[[PretrainedConfig], PreTrainedModel],
) -> PreTrainedModel:
    """Return a model of copies of some of the teacher's layers, and of all that is not a layer.

    Raises:
        StudentUnusable: the teacher has no such layer.
    """
    prefix, count = layer_list(teacher)
    beyond = [layer for layer in layers if layer >= count]
    if beyond:
        raise StudentUnusable(f"the teacher has layers 0 to {count - 1}; there is no layer {beyond[0]}")
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = [config.layer_types[layer] for layer in layers]
    set_seed(seed)
    model = build_model(config)
    model.load_state_dict(copied(teacher, prefix, layers))
    return model


def copied(model: PreTrainedModel, prefix: str, layers: tuple[int, ...]) -> dict[str, object]:
    """Return the teacher's weights under the names that they have in a model of just these layers."""
    weights: dict[str, object] = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith(f"{prefix}."):
            weights[name] = tensor
            continue
        number, _, rest = name.removeprefix(f"{prefix}.").partition(".")
        for place, layer in enumerate(layers):
            if layer == int(number):
                weights[f"{prefix}.{place}.{rest}"] = tensor
    return weights


def layer_list(model: PreTrainedModel) -> tuple[str, int]:
    """Return the name of the list of the model's layers, and how many they are.

    Raises:
        StudentUnusable: there is no such list (ALBERT shares one layer, for example).
    """
    count = getattr(model.config, "num_hidden_layers", None)
    encoder = body(model)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return f"{model.base_model_prefix}.{name}" if encoder is not model else name, len(module)
    raise StudentUnusable(f"a teacher of type {model.config.model_type} has no list of layers to copy from")


def required(tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise StudentUnusable("neither the student nor the teacher has a tokenizer")
    return tokenizer


def mark_trainable(student: Student, spec: StudentSpec) -> None:
    """Freeze all parameters that do not learn.

    `head` is every parameter outside the encoder, and any that no checkpoint gave.

    Raises:
        StudentUnusable: no parameter's name matches the patterns.
    """
    names = [name for name, _ in student.model.named_parameters()]
    if spec.trainable == "all":
        learning = set(names)
    elif spec.trainable == "head":
        source_is_given = spec.config is None
        learning = set(head_parameters(student.model)) | (set(student.fresh) if source_is_given else set())
    else:
        learning = {name for name in names if any(fnmatchcase(name, pattern) for pattern in spec.trainable)}
    if not learning:
        raise StudentUnusable(f"no parameter matches student.trainable; the first is called {names[0]}")
    for name, parameter in student.model.named_parameters():
        parameter.requires_grad_(name in learning)


def with_lora(
    model: PreTrainedModel, spec: LoraSpec, seed: int, task_type: TaskType | None = TaskType.SEQ_CLS
) -> nn.Module:
    """Wrap a copy of the model with low-rank adapters; a classifier's head trains too. peft has no word for image
    classifiers: their task type is None.

    Raises:
        StudentUnusable: no module matches target_modules.
    """
    targets: list[str] | str | None = list(spec.target_modules) if spec.target_modules else None
    if targets is None and model.config.model_type not in KNOWN_TARGETS:
        targets = "all-linear"
    config = LoraConfig(
        task_type=task_type,
        r=spec.r,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=targets,
        modules_to_save=head_modules(model) if task_type != TaskType.CAUSAL_LM else None,
    )
    set_seed(seed)
    try:
        with warnings.catch_warnings():
            # peft still asks transformers for a property by its old name; that is between the two of them.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return get_peft_model(copy.deepcopy(model), config)
    except ValueError as error:
        raise StudentUnusable(f"student.lora does not fit: {error}") from error
