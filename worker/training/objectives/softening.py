"""What every objective starts from: the kept rows, in float32, divided by the temperature.

Legend: N kept rows, C classes or words of the vocabulary; `...` any leading dimensions (B, or B and T).
"""

from torch import Tensor
from torch.nn.functional import log_softmax


def kept_rows(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the rows [N, C] of `logits` [..., C] where `mask` [...] is True, as float32; all of them without a mask.

    Rows are picked, not multiplied by zero: an infinity in a masked row cannot become NaN in the sum or the gradient.
    """
    return (logits.flatten(0, -2) if mask is None else logits[mask]).float()


def softened(logits: Tensor, mask: Tensor | None, temperature: float) -> Tensor:
    """Return log-probabilities [N, C] of the kept rows at `temperature`."""
    return log_softmax(divided(kept_rows(logits, mask), temperature), dim=-1)


def divided(logits_NC: Tensor, temperature: float) -> Tensor:
    """Return the logits over the temperature: themselves, not a copy, where it is 1."""
    return logits_NC if temperature == 1 else logits_NC / temperature


def kl_sum(log_p_NC: Tensor, log_q_NC: Tensor) -> Tensor:
    """Return the sum over rows of KL(p || q), in nats, as a scalar."""
    return (log_p_NC.exp() * (log_p_NC - log_q_NC).masked_fill(log_p_NC == float("-inf"), 0.0)).sum()
