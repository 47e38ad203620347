"""Squared differences of logits: the limit of the KL divergence at a high temperature."""

from torch import Tensor

from worker.training.objectives.softening import kept_rows


def mse(student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float) -> Tensor:
    """Sum over kept rows of half the mean squared difference of logits.

    Both are divided by the temperature and the sum is multiplied by its square, so that it cancels. The half makes
    this the limit of `forward_kl` at a high temperature (for logits of equal mean), and alpha means the same in both.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts; None where each does.
        temperature: divides both sets of logits.

    Returns:
        float32 scalar, shape [], in squared logits. Zero when nothing is kept.

    Source: Hinton, Vinyals and Dean (2015), arXiv:1503.02531, section 2.1; Kim et al. (2021), arXiv:2105.08919.
    """
    difference_NC = (kept_rows(student, mask) - kept_rows(teacher.detach(), mask)) / temperature
    return 0.5 * difference_NC.square().sum() / student.shape[-1] * temperature**2
