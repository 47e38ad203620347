"""KL from the teacher to the student: the classical objective, which covers all of the teacher's modes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from worker.training.objectives.softening import kept_rows, softened


def forward_kl(student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float) -> Tensor:
    """Sum of KL(teacher || student) over kept rows, times temperature squared.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts; None where each does.
        temperature: divides both sets of logits; 1.0 leaves them alone.

    Returns:
        float32 scalar, shape [], in nats. Zero when nothing is kept.

    Source: Hinton, Vinyals and Dean (2015), arXiv:1503.02531, section 2.
    """
    log_p_NC = softened(teacher.detach(), mask, temperature)
    total: Tensor = _ForwardKL.apply(kept_rows(student, mask), log_p_NC, temperature)  # type: ignore[no-untyped-call]
    return total


class _ForwardKL(torch.autograd.Function):
    """The gradient with respect to the student's logits is (q - p) / T (section 2.1): taken where q and p are at hand,
    it spares half of the passes over as many numbers as a vocabulary has words."""

    @staticmethod
    def forward(ctx: Any, student_NC: Tensor, log_p_NC: Tensor, temperature: float) -> Tensor:
        log_q_NC, p_NC = log_softmax(student_NC / temperature, dim=-1), log_p_NC.exp()
        kl = ((log_p_NC - log_q_NC).masked_fill_(log_p_NC == float("-inf"), 0.0).mul_(p_NC)).sum()
        ctx.temperature = temperature
        ctx.save_for_backward(log_q_NC.exp_().sub_(p_NC))
        return kl * temperature**2

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (difference_NC,) = ctx.saved_tensors
        return difference_NC * (upstream[0] * ctx.temperature), None, None
