"""The teacher's signal: each teacher reads each text once, and what it said is kept on disk for all epochs.

Legend: N examples, C classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def log_probabilities(logits_NC: Logits, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return log softmax(logits / temperature), in float64."""
    logits = torch.from_numpy(np.array(logits_NC, dtype=np.float64))
    found: NDArray[np.float64] = torch.log_softmax(logits / temperature, dim=1).numpy()
    return found


def ensemble(members_NC: Sequence[Logits], weights: Sequence[float], temperature: float) -> Logits:
    """Return logits [N, C] whose softmax at `temperature` is the weighted mean of the members' at `temperature`.

    One member's logits come back as they are. For more, the mixture's log-probabilities times temperature stand in.
    """
    if len(members_NC) == 1:
        return members_NC[0]
    log_shares = np.log(np.asarray(weights, dtype=np.float64) / np.sum(weights))
    softened = [log_probabilities(member, temperature) for member in members_NC]
    mixture_NC = np.logaddexp.reduce(np.stack(softened) + log_shares[:, None, None], axis=0)
    combined: Logits = (mixture_NC * temperature).astype(np.float32)
    return combined
