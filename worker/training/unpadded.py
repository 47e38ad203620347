"""Batches without padding: texts lie end to end, and each is read as if it were alone.

Padding costs as much as text. Here a batch [B, T] becomes one row [1, S] on its way into a model's body, positions
begin anew with each text, and what attends keeps texts apart (Krell et al. 2021, arXiv:2107.02027). What comes out is
padded again for whoever reads it, so that heads, losses and masks know of nothing.

Legend: B texts, T positions of a padded batch, S tokens of all texts, D hidden width.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.training.attention import COUNTS, KERNEL_FROM, attend_here, attends_here, kernel_type, windows_noticed
from worker.training.memory import is_out_of_memory
from worker.training.models import body, first_position, plain_of

log = logging.getLogger("distil")
PROBE = (5, 9, 9, 2, 7)
"""Lengths of the texts that a model reads both ways, once, to see whether it may read without padding."""
NEAR, NEAR_IN_16_BITS = 1e-3, 0.25
"""How far the two may be apart, as a share of the deviation of what is read. Texts that meet are about 1 apart."""
APART = 1e-5
"""How far a text may be from itself beside other texts, in the same measure: rounding where experts read other rows."""
DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""In a model's config: the share of attention that is dropped."""

RUN_OPERATIONS = 80_000_000
"""How much a CPU could compute in the time that the attention of one more run of equal lengths takes in a layer."""

_WEIGHTS: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()
_VERDICTS = "_reads_unpadded"
"""Where a model keeps what was found, by kind of device; it goes along to other processes."""


def unpadded(texts: Mapping[str, Tensor], first: int = 0) -> dict[str, Tensor]:
    """Return a batch's texts end to end, for models that attend by `attention.ATTENTION`.

    Args:
        texts: `input_ids` and `attention_mask`, [B, T], and others of that shape.
        first: the position of a text's first token.

    Returns:
        What was given as [1, S], with `position_ids`; `attention_mask` is the number of tokens of each text.
    """
    mask_BT = texts["attention_mask"].bool()
    positions_BT = mask_BT.cumsum(dim=1) - 1 + first
    flat = {name: one_BT[mask_BT].unsqueeze(0) for name, one_BT in texts.items() if name != "attention_mask"}
    counts_111B = mask_BT.sum(dim=1).to(COUNTS).cpu().view(1, 1, 1, -1)
    return {**flat, "position_ids": positions_BT[mask_BT].unsqueeze(0), "attention_mask": counts_111B}


def padded(states_1SD: Tensor, mask_BT: Tensor) -> Tensor:
    """Return states of texts end to end as [B, T, D], zero where there is no text."""
    states_BTD = states_1SD.new_zeros(*mask_BT.shape, states_1SD.shape[-1])
    return states_BTD.masked_scatter(mask_BT.bool().unsqueeze(-1), states_1SD)


@contextmanager
def in_one_row(whole: nn.Module, first: int = 0) -> Iterator["_Seam"]:
    """Within this, a model's body that is called with a padded batch reads it as `unpadded` gives it."""
    seam = _Seam(first)
    hook = whole.register_forward_pre_hook(seam.flatten, with_kwargs=True)
    try:
        yield seam
    finally:
        hook.remove()


@contextmanager
def without_padding(model: nn.Module) -> Iterator[None]:
    """Within this, a classifier reads batches in one row, and pads again what comes out of its body.

    What the model is called with and what it returns is as ever, hidden states included.
    """
    plain = plain_of(model)
    whole = body(plain)
    with in_one_row(whole, first_position(plain)) as seam:
        hooks = [whole.register_forward_hook(seam.restore)]
        pooler = getattr(whole, "pooler", None)
        if isinstance(pooler, nn.Module):
            hooks.append(pooler.register_forward_pre_hook(seam.restore_for_pooler))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class _Seam:
    """Where a body's inputs lose their padding, and what it returns gets it back."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.mask_BT: Tensor | None = None
        """Of the batch that the body is reading."""
        self.tokens = 0

    def flatten(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        said = inspect.signature(module.forward).bind_partial(*given, **named).arguments
        said |= said.pop("kwargs", {})
        mask_BT = said["attention_mask"]
        texts = {name: one for name, one in said.items() if isinstance(one, Tensor) and one.shape == mask_BT.shape}
        flat = unpadded(texts, self.first)
        self.mask_BT, self.tokens = mask_BT, flat["input_ids"].shape[1]
        return (), {**said, **flat}

    def restore(self, _module: nn.Module, _given: Any, found: Any) -> Any:
        for name, value in found.items():
            if isinstance(value, Tensor):
                found[name] = self._padded(value)
            elif isinstance(value, tuple):
                found[name] = tuple(self._padded(one) for one in value)
        self.mask_BT = None
        return found

    def restore_for_pooler(self, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(self._padded(one) for one in given)

    def _padded(self, one: Any) -> Any:
        is_flat = isinstance(one, Tensor) and one.dim() == 3 and one.shape[:2] == (1, self.tokens)
        return padded(one, self.mask_BT) if is_flat and self.mask_BT is not None else one


Read = Callable[[nn.Module, Mapping[str, Tensor]], Sequence[Tensor]]
"""What a model says of a padded batch."""


def reads_unpadded(model: nn.Module, as_ever: Read, in_one_row: Read) -> bool:
    """Tell whether a model gives the same without padding, by trying it once on each kind of device.

    Its attention is set for it. Models differ in how they number positions, mask, and pass on what they are given: no
    list of names would hold. Where one raises or says something else it is read as ever. Nothing is drawn, and the mode
    stays.

    Args:
        as_ever: reads with padding.
        in_one_row: reads the same without.
    """
    found: dict[str, bool] = vars(model).setdefault(_VERDICTS, {})
    where = next(model.parameters()).device.type
    if where not in found:
        plain = plain_of(model)
        found[where] = _is_possible(plain) and _is_same(model, as_ever, in_one_row)
        log.info("%s reads %s", type(plain).__name__, "without padding" if found[where] else "with padding")
    return all(found.values())


def is_worth(model: nn.Module, mask_BT: Tensor) -> bool:
    """Tell whether a batch is read without padding if its model can: no text of it is empty, and none is padded on the
    left, where a model that numbers its positions would number them otherwise."""
    return pays(model) and bool(mask_BT[:, 0].all()) and (mask_BT.device.type != "cpu" or saves(model, mask_BT))


def saves(model: nn.Module, mask_BT: Tensor) -> bool:
    """Tell whether a CPU computes more for the padding of a batch than for its texts' attention apart.

    It depends on lengths and the model's size alone, so that the same job computes the same on every machine.
    """
    counts_B = mask_BT.sum(dim=1)
    padding = mask_BT.numel() - int(counts_B.sum())
    runs = 1 + int((counts_B[1:] != counts_B[:-1]).sum())
    return 2 * padding * _weights_of_layer(plain_of(model)) > (runs + 2) * RUN_OPERATIONS


def _weights_of_layer(plain: PreTrainedModel) -> float:
    """Return how many weights a token meets in a layer, about."""
    if plain not in _WEIGHTS:
        embedded = {id(one.weight) for one in plain.modules() if isinstance(one, nn.Embedding)}
        weights = sum(one.numel() for one in body(plain).parameters() if id(one) not in embedded)
        _WEIGHTS[plain] = weights / max(1, getattr(plain.config.get_text_config(), "num_hidden_layers", 1))
    return _WEIGHTS[plain]


def pays(model: nn.Module) -> bool:
    """Tell whether reading without padding is faster here: on CPUs, and on GPUs where one kernel does all texts."""
    parameter = next(model.parameters())
    if parameter.device.type == "cpu":
        return True
    drops = model.training and any(getattr(plain_of(model).config, name, 0.0) for name in DROPOUTS)
    is_able = torch.cuda.get_device_capability(parameter.device) >= KERNEL_FROM
    return not drops and is_able and kernel_type(parameter) is not None


def _is_possible(plain: PreTrainedModel) -> bool:
    attend_here(plain)
    return attends_here(plain) and not getattr(plain.config.get_text_config(), "attention_chunk_size", None)


@torch.no_grad()
def _is_same(model: nn.Module, as_ever: Read, in_one_row: Read) -> bool:
    was_training, where = model.training, next(model.parameters()).device.type
    is_exact = all(weight.dtype == torch.float32 for weight in model.parameters())
    uses_kernel = where == "cuda" and kernel_type(next(model.parameters())) is not None
    is_same = True
    model.eval()
    try:
        with windows_noticed() as windows:
            if is_exact:
                with torch.autocast(where, enabled=False):
                    is_same = _agree(model, as_ever, in_one_row, NEAR) and _keeps_apart(model, in_one_row)
            if uses_kernel or not is_exact:
                with torch.autocast(where, torch.bfloat16):
                    is_same = is_same and _agree(model, as_ever, in_one_row, NEAR_IN_16_BITS)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False
    finally:
        model.train(was_training)
    # A window that a model tells its mask alone cannot show in texts that are shorter.
    hides = getattr(plain_of(model).config.get_text_config(), "sliding_window", None) and not windows
    return is_same and not hides


def _agree(model: nn.Module, as_ever: Read, in_one_row: Read, near: float) -> bool:
    texts = _probe(plain_of(model))
    both = zip(as_ever(model, texts), in_one_row(model, texts), strict=True)
    return all(_is_near(one, other, near) for one, other in both)


def _keeps_apart(model: nn.Module, in_one_row: Read) -> bool:
    """Tell whether what is said of some texts is untouched by their neighbours, even by the little that random weights
    let through: once they have learned it may be more."""
    texts, others = _probe(plain_of(model)), _probe(plain_of(model), moved=3)
    stays_B = (texts["input_ids"] == others["input_ids"]).all(dim=1)
    stays_S = stays_B.repeat_interleave(texts["attention_mask"].sum(dim=1))

    def kept(said: Tensor) -> Tensor:
        return said[stays_B if len(said) == len(stays_B) else stays_S]

    both = zip(in_one_row(model, texts), in_one_row(model, others), strict=True)
    return all(_is_near(kept(one), kept(other), APART) for one, other in both)


def _is_near(one: Tensor, other: Tensor, near: float) -> bool:
    """Tell whether each token's, or each text's, numbers are near: root mean squares, in deviations of all."""
    if one.shape != other.shape:
        return False
    apart = (one - other).float().square().mean(dim=-1).max().sqrt()
    return float(apart) <= near * float(one.float().std())


def _probe(plain: PreTrainedModel, moved: int = 0) -> dict[str, Tensor]:
    """Return a few texts, every other one with words that are `moved` further on."""
    config = plain.config.get_text_config()
    mask_BT = torch.arange(max(PROBE)) < torch.tensor(PROBE).unsqueeze(1)
    ids_BT = torch.arange(mask_BT.numel()).view(mask_BT.shape)
    ids_BT[::2] += moved
    ids_BT = ids_BT.remainder(config.vocab_size - 1)
    pad = config.pad_token_id if config.pad_token_id in range(config.vocab_size) else 0
    ids_BT += ids_BT >= pad
    ids_BT = ids_BT.where(mask_BT, pad)
    where = next(plain.parameters()).device
    return {"input_ids": ids_BT.to(where), "attention_mask": mask_BT.long().to(where)}
