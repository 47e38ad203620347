"""The generalised Jensen-Shannon divergence: bounded, and between the two KL divergences."""

import math

import torch
from torch import Tensor

from worker.training.objectives.softening import kl_sum, softened


def jsd(student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float, beta: float) -> Tensor:
    """Sum of beta KL(teacher || m) + (1 - beta) KL(student || m) over kept rows, times temperature squared,
    where m = beta teacher + (1 - beta) student.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts; None where each does.
        temperature: divides both sets of logits; 1.0 leaves them alone.
        beta: the teacher's share of the mixture, strictly between 0 and 1.

    Returns:
        float32 scalar, shape [], in nats. Zero when nothing is kept.

    Source: Agarwal et al. (2024), arXiv:2306.13649, section 2 (generalised JSD).
    """
    log_p_NC = softened(teacher.detach(), mask, temperature)
    log_q_NC = softened(student, mask, temperature)
    log_m_NC = torch.logaddexp(log_p_NC + math.log(beta), log_q_NC + math.log1p(-beta))
    return (beta * kl_sum(log_p_NC, log_m_NC) + (1 - beta) * kl_sum(log_q_NC, log_m_NC)) * temperature**2
