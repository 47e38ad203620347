"""A language model in training.

Legend: B sequences, T positions, N kept tokens, D hidden width.
"""

from torch import Tensor, nn

from worker.training.language.models import head_of
from worker.training.language.states import prepared, states_of
from worker.training.pupil import Pupil


class WritingPupil(Pupil):
    """Gives the last hidden states of kept positions; the head is applied where the loss is, some rows at a time."""

    def forward(self, texts: dict[str, Tensor], predicts_BT: Tensor) -> Tensor:  # type: ignore[override]
        """Return hidden states [N, D] of the positions in `predicts_BT`."""
        return states_of(self.model, texts, predicts_BT)

    def try_unpadded(self) -> bool:
        return prepared(self.model)

    @property
    def head(self) -> nn.Module:
        return head_of(self.model)
