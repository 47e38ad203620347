import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.training.signal import ensemble, log_probabilities


@given(st.floats(0.5, 20), st.lists(st.floats(0.1, 10), min_size=2, max_size=4), st.integers(0, 999))
@settings(max_examples=40)
def test_an_ensemble_is_the_weighted_mean_of_softened_probabilities(
    temperature: float, weights: list[float], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    members = [draw.normal(scale=3, size=(5, 4)).astype(np.float32) for _ in weights]
    mixed = np.exp(log_probabilities(ensemble(members, weights, temperature), temperature))
    expected = sum(w * np.exp(log_probabilities(m, temperature)) for w, m in zip(weights, members, strict=True))
    np.testing.assert_allclose(mixed, expected / sum(weights), atol=1e-4)


def test_one_teacher_is_itself() -> None:
    logits = np.ones((3, 2), dtype=np.float32)
    assert ensemble([logits], [5.0], 2.0) is logits
