"""Which precision a job computes in, and that finding out changes nothing that a job draws."""

import torch

from worker.training.device import bf16_pays, has_native_bf16, precision_of


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
