"""KL from the teacher to the student: the classical objective, which covers all of the teacher's modes."""

from torch import Tensor

from worker.training.objectives.softening import kl_sum, softened


def forward_kl(student: Tensor, teacher: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    """Sum of KL(teacher || student) over kept rows, times temperature squared.

    Args:
        student: raw logits [B, C] or [B, T, V], any float dtype; gradients flow into these.
        teacher: raw logits of the same shape, treated as constants.
        mask: bool [B] or [B, T], True where the row counts.
        temperature: divides both sets of logits; 1.0 leaves them alone.

    Returns:
        float32 scalar, shape [], in nats. Zero when nothing is kept.

    Source: Hinton, Vinyals and Dean (2015), arXiv:1503.02531, section 2.
    """
    return kl_sum(softened(teacher.detach(), mask, temperature), softened(student, mask, temperature)) * temperature**2
