"""Which jobs of a sweep train a student on labels alone."""

from typing import Any

import pytest

from service.errors import InvalidRequest
from service.jobs.checked import Checked
from service.sweeps.planning import require_one_task, trainers_of
from tests.core.rows import spec_of

HEAT = [{"T": 1.0}, {"T": 2.0, "alpha": 0.9}, {"method": {"type": "logits", "divergence": "jsd", "beta": 0.3}}]


@pytest.mark.parametrize(
    ("points", "trainers"),
    [
        (HEAT, [0, 0, 0]),
        ([{"training": {"seed": seed}, "T": T} for seed in (1, 2) for T in (1.0, 2.0)], [0, 0, 2, 2]),
        ([{"output": {"model": "a"}, "name": "a"}, {"output": {"model": "b"}, "resources": {"priority": 1}}], [0, 0]),
        ([{"student": "s"}, {"student": "other"}], [0, 1]),
        ([{**point, "evaluation": {"baseline": True}} for point in HEAT], [0, 1, 2]),
        ([{**point, "evaluation": {"baseline": False}} for point in HEAT], [None, None, None]),
        ([{**point, "training": {"early_stopping": {}}} for point in HEAT], [0, 1, 2]),
        ([{"task": "text-generation", "method": {"alignment": one}} for one in (None, "uld")], [0, 0]),
        ([{"alpha": alpha} for alpha in (0.0, 0.5, 1.0)], [0, 0, 0]),
        ([{"alpha": alpha, "task": "text-generation"} for alpha in (0.0, 0.5, 1.0)], [0, 1, 1]),
    ],
)
def test_a_baseline_is_trained_once_for_all_that_share_it(points: list[dict[str, Any]], trainers: list[int]) -> None:
    assert trainers_of([spec_of(**point) for point in points]) == trainers


def test_points_of_different_tasks_cannot_be_compared() -> None:
    points = [Checked(spec_of(task=task)) for task in ("text-classification", "text-generation")]
    require_one_task(points[:1])
    with pytest.raises(InvalidRequest, match="text-classification and text-generation"):
        require_one_task(points)
