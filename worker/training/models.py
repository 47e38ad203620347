"""Loading models and tokenizers: safetensors only, no remote code, fp32 weights, every failure in words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from core.errors import ModelUnreadable, OutOfMemory
from worker.training.labels import class_names
from worker.training.memory import is_out_of_memory
from worker.training.reading import Reader


@dataclass(frozen=True)
class Kind:
    """A kind of classifier: what builds it with its head, and what its folder keeps to read examples with."""

    auto: Any
    """The transformers Auto class."""
    reader: str
    """The name of what reads: "tokenizer" or "image processor"."""
    load_reader: Callable[[Path, str], Reader | None]


@dataclass(frozen=True)
class Loaded:
    model: PreTrainedModel
    reader: Reader | None
    fresh: frozenset[str]
    """Names of parameters that the folder did not hold; they were drawn at random."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """What reads, where it reads texts."""
        return self.reader if isinstance(self.reader, PreTrainedTokenizerBase) else None

    @property
    def has_head(self) -> bool:
        return not any(name in self.fresh for name in head_parameters(self.model))

    @property
    def classes(self) -> list[str]:
        return class_names({int(index): str(name) for index, name in (self.model.config.id2label or {}).items()})


def load(
    folder: Path,
    name: str,
    seed: int,
    kind: Kind | None = None,
    *,
    classes: list[str] | None = None,
    fresh_head: bool = False,
) -> Loaded:
    """Load a classifier (of texts unless `kind` says another), or a body with a head drawn from `seed` in the place of
    the one it lacks.

    With `classes`, the head is made for them and the config says their names; with `fresh_head`, what head there was
    is left behind.

    Raises:
        ModelUnreadable: the folder does not hold a model that can be loaded, in words.
    """
    kind = kind or TEXT_CLASSIFIER
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        if classes is not None:
            say_classes(config, classes)
        set_seed(seed)
        model, report = kind.auto.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation=attention_of(config, kind.auto),
            dtype=torch.float32,
            ignore_mismatched_sizes=classes is not None,
            output_loading_info=True,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory(f"model '{name}' does not fit into memory: {error}") from error
        raise ModelUnreadable(name, in_words(error)) from error
    mismatched = {key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]}
    fresh = frozenset(report["missing_keys"]) | mismatched
    check_body(model, fresh, name)
    if fresh_head:
        model, fresh = _with_fresh_head(model, seed, kind.auto), fresh | frozenset(head_parameters(model))
    reader = kind.load_reader(folder, name)
    if isinstance(reader, PreTrainedTokenizerBase):
        pad_as(model, reader)
    return Loaded(model.eval(), reader, fresh)


def pad_as(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a model that knows no padding which token it is: decoders classify by the last one that is not."""
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id


def load_tokenizer(folder: Path, name: str, *, required: bool = True) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer of a folder; None where it has none and none is required.

    Raises:
        ModelUnreadable: there is one and it cannot be loaded, or a required one is missing.
    """
    if not any((folder / file).exists() for file in TOKENIZER_FILES):
        if required:
            raise ModelUnreadable(name, "its folder has no tokenizer")
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise ModelUnreadable(name, f"its tokenizer: {in_words(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return _checked(tokenizer)


def _checked(tokenizer: Any) -> PreTrainedTokenizerBase:
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(f"{type(tokenizer).__name__} is no text tokenizer")
    return tokenizer


TEXT_CLASSIFIER = Kind(
    AutoModelForSequenceClassification, "tokenizer", lambda folder, name: load_tokenizer(folder, name, required=False)
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def attention_of(config: PretrainedConfig, auto: Any = AutoModelForSequenceClassification) -> str:
    """Return "sdpa" where the architecture has it, else "eager"; never what the folder's config asks for."""
    architecture = auto._model_mapping.get(type(config), None)
    return "sdpa" if getattr(architecture, "_supports_sdpa", False) else "eager"


def say_classes(config: PretrainedConfig, classes: list[str]) -> None:
    """Write the classes and their order into a config; its number of labels follows."""
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    config.problem_type = "single_label_classification"


def body(model: PreTrainedModel) -> nn.Module:
    """Return the encoder below the head."""
    found = getattr(model, model.base_model_prefix, None)
    return found if isinstance(found, nn.Module) else model


def plain_of(model: nn.Module) -> PreTrainedModel:
    """Return the model below its adapters, or itself where it has none."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return plain  # type: ignore[no-any-return]


def head_parameters(model: PreTrainedModel) -> list[str]:
    """Return the names of the parameters outside the encoder."""
    prefix = f"{model.base_model_prefix}."
    return [name for name, _ in model.named_parameters() if not name.startswith(prefix)]


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules outside the encoder that have parameters."""
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    ]


def parameter_count(model: nn.Module, *, trainable_only: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def positions_of(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model's position embeddings reach, or None where they have no end.

    Models that number positions from beyond the padding id (RoBERTa and its kin) lose those places.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - first_position(model)


def first_position(model: PreTrainedModel) -> int:
    """Return the position of a text's first token."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _with_fresh_head(model: PreTrainedModel, seed: int, auto: Any) -> PreTrainedModel:
    set_seed(seed)
    fresh = from_config(model.config, auto)
    body(fresh).load_state_dict(body(model).state_dict())
    return fresh


def from_config(config: PretrainedConfig, auto: Any = AutoModelForSequenceClassification) -> PreTrainedModel:
    """Build a model with random weights from the present state of the random generator."""
    model = auto.from_config(
        config, trust_remote_code=False, attn_implementation=attention_of(config, auto), dtype=torch.float32
    )
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"{type(model).__name__} is no transformers model")
    return model


def check_body(model: PreTrainedModel, fresh: frozenset[str], name: str) -> None:
    """A head, and the pooler before it, may be missing; a layer may not."""
    prefix = f"{model.base_model_prefix}."
    lost = sorted(key for key in fresh if key.startswith(prefix) and "pooler" not in key)
    if lost:
        raise ModelUnreadable(name, f"its weights lack {len(lost)} tensors that its config asks for, such as {lost[0]}")


def in_words(error: Exception) -> str:
    """Return the first sentence of an error; folders of the worker are no business of the user."""
    if isinstance(error, json.JSONDecodeError):
        return f"its config is not JSON: {error}"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:400]
