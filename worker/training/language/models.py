"""Loading language models, and the two parts of one that matter here: its body, and the head above it.

Legend: B sequences, T positions, V vocabulary.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, set_seed

from core.errors import ModelUnreadable, OutOfMemory
from worker.training.memory import is_out_of_memory
from worker.training.models import Loaded, attention_of, check_body, from_config, in_words, load_tokenizer, plain_of

_LANGUAGE_MODEL: Any = AutoModelForCausalLM
"""transformers says the type of one return value where there are two."""

PROBE = 8
"""Tokens that a model is asked about once, to see that its logits are what its head says and nothing more."""


def load_writer(
    folder: Path,
    name: str,
    *,
    needs_tokenizer: bool = True,
    dtype: torch.dtype | Literal["auto"] = torch.float32,
    reads_head: bool = True,
) -> Loaded:
    """Load a causal language model with its tokenizer.

    Args:
        dtype: of the weights in memory; "auto" is the file's own.
        reads_head: whether the head will be read apart from the body, as training does, and must be all that makes the
            logits.

    Raises:
        ModelUnreadable: the folder does not hold one, or one whose logits are not its head's output alone.
        OutOfMemory: it does not fit.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        set_seed(0)
        model, report = _LANGUAGE_MODEL.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation=attention_of(config, AutoModelForCausalLM),
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory(f"model '{name}' does not fit into memory: {error}") from error
        raise ModelUnreadable(name, in_words(error)) from error
    missing = frozenset(report["missing_keys"])
    check_body(model, missing, name)
    if missing:
        raise ModelUnreadable(name, f"it has no language-model head: its weights lack {min(missing)}")
    if reads_head:
        check_head(model, name)
    return Loaded(model.eval(), load_tokenizer(folder, name, required=needs_tokenizer), frozenset())


def fresh_writer(config: PretrainedConfig) -> PreTrainedModel:
    """Build a language model with random weights from the present state of the random generator."""
    return from_config(config, AutoModelForCausalLM)


def body_of(model: nn.Module) -> nn.Module:
    """Return what gives a language model's last hidden states, its final norm included."""
    found: nn.Module = plain_of(model).base_model
    return found


def head_of(model: nn.Module) -> nn.Module:
    """Return what makes logits of a language model's last hidden states."""
    plain: Any = plain_of(model)
    found: nn.Module = plain.get_output_embeddings()
    return found


class HeadAlone(nn.Module):
    """What is needed of a language model whose last hidden states are kept."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def vocabulary_of(model: nn.Module) -> int:
    """Return how many logits the model gives."""
    weight: Tensor = head_of(model).get_parameter("weight")
    return int(weight.shape[0])


@torch.no_grad()
def check_head(model: Any, name: str) -> None:
    """Refuse models that scale or cap their logits after the head: reading the head alone would be wrong for them.

    Raises:
        ModelUnreadable: the logits are not the head's output.
    """
    if model.base_model is model or not isinstance(model.get_output_embeddings(), nn.Module):
        raise ModelUnreadable(name, f"a {type(model).__name__} has no body and head of its own")
    was_training = model.training
    model.eval()
    ids_BT = torch.arange(PROBE).remainder(vocabulary_of(model)).unsqueeze(0).to(model.device)
    whole_BTV = model(input_ids=ids_BT, use_cache=False).logits
    parts_BTV = head_of(model)(body_of(model)(input_ids=ids_BT, use_cache=False).last_hidden_state)
    model.train(was_training)
    if whole_BTV.shape != parts_BTV.shape or not torch.allclose(whole_BTV, parts_BTV, rtol=1e-3, atol=1e-4):
        raise ModelUnreadable(name, f"a {type(model).__name__} scales or caps its logits, which is not supported")
