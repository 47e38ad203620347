"""KL from the teacher to the student: the classical objective, which covers all of the teacher's modes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softmax

from worker.training.objectives.softening import divided, kept_rows

RULED_OUT = 1e30


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
    total: Tensor = _ForwardKL.apply(  # type: ignore[no-untyped-call]
        divided(kept_rows(student, mask), temperature), divided(kept_rows(teacher.detach(), mask), temperature)
    )
    return total * temperature**2


class _ForwardKL(torch.autograd.Function):
    """The sum over rows at temperature 1; its gradient with respect to the student's logits is q - p (section 2).

    Taken where q and p are at hand, the gradient spares most passes over as many numbers as a vocabulary has words.
    With logits s and t, KL is the mean of t - s under p, less log Z of both. Counted from each row's largest logit,
    log Z is -log of the largest probability, and little is left to cancel.
    """

    @staticmethod
    def forward(ctx: Any, student_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        q_NC, p_NC = softmax(student_NC, dim=-1), softmax(teacher_NC, dim=-1)
        largest_N1 = teacher_NC.amax(dim=-1, keepdim=True) - student_NC.amax(dim=-1, keepdim=True)
        differences_NC = (teacher_NC - student_NC).sub_(largest_N1)
        # A word that the teacher rules out, with logit -inf, has no share, whatever the student says.
        mean = differences_NC.nan_to_num_(0.0, RULED_OUT, -RULED_OUT).mul_(p_NC).sum()
        of_z = (p_NC.amax(dim=-1).log() - q_NC.amax(dim=-1).log()).sum()
        ctx.save_for_backward(q_NC.sub_(p_NC))
        return mean + of_z

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (difference_NC,) = ctx.saved_tensors
        return difference_NC * upstream[0], None
