"""Objectives on hidden states: the student's layers are pulled towards the teacher's.

Legend: B sequences, T positions, D hidden width.
"""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from worker.training.objectives.softening import kept_rows


def hidden_cosine(student_BTD: Tensor, teacher_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over kept tokens of one minus the cosine of the two hidden states.

    Args:
        student_BTD: hidden states of the teacher's width, any float dtype; gradients flow into these.
        teacher_BTD: the teacher's hidden states, treated as constants.
        mask_BT: bool, True where the token counts.

    Returns:
        float32 scalar, shape [], between 0 and 2 per token. Zero when nothing is kept.

    Source: Sanh et al. (2019), arXiv:1910.01108, section 3.
    """
    teacher_ND = kept_rows(teacher_BTD.detach(), mask_BT)
    return (1 - cosine_similarity(kept_rows(student_BTD, mask_BT), teacher_ND, dim=-1)).sum()


def hidden_mse(student_BTD: Tensor, teacher_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over kept tokens of the mean squared difference of the two hidden states.

    Args:
        student_BTD: hidden states of the teacher's width, any float dtype; gradients flow into these.
        teacher_BTD: the teacher's hidden states, treated as constants.
        mask_BT: bool, True where the token counts.

    Returns:
        float32 scalar, shape []. Zero when nothing is kept.

    Source: Romero et al. (2015), arXiv:1412.6550, section 2.2; Jiao et al. (2020), arXiv:1909.10351, section 3.1.
    """
    difference_ND = kept_rows(student_BTD, mask_BT) - kept_rows(teacher_BTD.detach(), mask_BT)
    return difference_ND.square().sum() / student_BTD.shape[-1]
