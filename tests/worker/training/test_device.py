"""Which precision a job computes in, and that finding out changes nothing that a job draws."""

import pytest
import torch

from worker.training.device import FEWEST_TRIALS, bf16_pays, has_native_bf16, pays, precision_of


def test_what_is_asked_for_is_what_is_computed_in() -> None:
    assert precision_of("fp32") == "fp32"
    assert precision_of("bf16") == "bf16"


def test_auto_is_bf16_only_where_the_device_has_it_and_it_pays() -> None:
    assert precision_of("auto") == ("bf16" if has_native_bf16() and bf16_pays() else "fp32")


def test_the_trial_draws_no_random_number_and_is_made_once() -> None:
    bf16_pays.cache_clear()
    before = torch.get_rng_state()
    found = {bf16_pays() for _ in range(3)}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(found) == 1
    assert bf16_pays.cache_info().misses == 1


@pytest.mark.parametrize(("half", "wins"), [(0.5, True), (0.79, True), (0.81, False), (3.0, False)])
@pytest.mark.parametrize("disturbed", [0, 1, 2 * FEWEST_TRIALS])
def test_what_else_the_machine_does_for_a_moment_does_not_decide(half: float, wins: bool, disturbed: int) -> None:
    asked = {torch.float32: 0, torch.bfloat16: 0}

    def seconds_of(kind: torch.dtype) -> float:
        asked[kind] += 1
        slower = 10.0 if kind == torch.bfloat16 and asked[kind] <= disturbed else 1.0
        return slower * (half if kind == torch.bfloat16 else 1.0)

    assert pays(seconds_of) == wins
