"""KL from the student to the teacher: punishes the student for what the teacher finds unlikely."""

from torch import Tensor

from worker.training.objectives.softening import kl_sum, softened


def reverse_kl(student: Tensor, teacher: Tensor, mask: Tensor | None, *, temperature: float) -> Tensor:
    """Sum of KL(student || teacher) over kept rows, times temperature squared.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts; None where each does.
        temperature: divides both sets of logits; 1.0 leaves them alone.

    Returns:
        float32 scalar, shape [], in nats. Zero when nothing is kept.

    Source: Gu et al. (2023), arXiv:2306.08543, section 2.1.
    """
    return kl_sum(softened(student, mask, temperature), softened(teacher.detach(), mask, temperature)) * temperature**2
