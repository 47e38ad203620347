"""What a language model's body makes of texts: the last hidden states of the positions that are kept.

Legend: B sequences, T positions, S tokens of all texts, N kept tokens, D hidden width.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from worker.training.language.models import body_of
from worker.training.unpadded import in_one_row, is_worth, pays, reads_unpadded

Texts = Mapping[str, Tensor]
"""`input_ids` and `attention_mask`, [B, T], padded on the right."""


def states_of(model: nn.Module, texts: Texts, predicts_BT: Tensor) -> Tensor:
    """Return the last hidden states [N, D] of some positions, final norm included, row by row.

    Padding costs as much as text, and in attention more: texts lie end to end where the model bears that.
    """
    mask_BT = texts["attention_mask"].bool()
    if is_worth(model, mask_BT) and prepared(model):
        return _in_one_row(model, texts)[predicts_BT[mask_BT]]
    return _padded(model, texts, predicts_BT)


def prepared(model: nn.Module) -> bool:
    """Tell whether the model reads texts without padding. The first time it is tried."""
    return reads_unpadded(model, _tried_padded, _tried_in_one_row)


def reads_in_one_row(model: nn.Module) -> bool:
    """Tell whether the model reads batches without padding, wherever they have much of it."""
    return pays(model) and prepared(model)


def _padded(model: nn.Module, texts: Texts, predicts_BT: Tensor) -> Tensor:
    found: Tensor = body_of(model)(**texts, use_cache=False).last_hidden_state[predicts_BT]
    return found


def _in_one_row(model: nn.Module, texts: Texts) -> Tensor:
    """Return the last hidden states [S, D]."""
    body = body_of(model)
    with in_one_row(body):
        found: Tensor = body(**texts, use_cache=False).last_hidden_state.squeeze(0)
    return found


def _tried_padded(model: nn.Module, texts: Texts) -> list[Tensor]:
    return [_padded(model, texts, texts["attention_mask"].bool())]


def _tried_in_one_row(model: nn.Module, texts: Texts) -> list[Tensor]:
    return [_in_one_row(model, texts)]
