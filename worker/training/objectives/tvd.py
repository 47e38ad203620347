"""The total variation distance: how much probability would have to move."""

from torch import Tensor

from worker.training.objectives.softening import softened


def tvd(student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float) -> Tensor:
    """Sum of half the absolute differences of probabilities over kept rows, times temperature squared.

    The distance is of first order in the logits, so that its gradient grows with the temperature where that of the
    divergences stays: a lower alpha belongs to a higher temperature here.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts; None where each does.
        temperature: divides both sets of logits; 1.0 leaves them alone.

    Returns:
        float32 scalar, shape [], without unit, at most temperature squared per row. Zero when nothing is kept.

    Source: Wen et al. (2023), arXiv:2307.15190, section 3.
    """
    p_NC = softened(teacher.detach(), mask, temperature).exp()
    q_NC = softened(student, mask, temperature).exp()
    return 0.5 * (p_NC - q_NC).abs().sum() * temperature**2
