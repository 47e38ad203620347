"""What each process draws from, and where they talk."""

from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.worker.training.conftest import TINY
from tests.worker.training.test_trainer import texts
from worker.training.aim import Aim
from worker.training.lessons import Lessons
from worker.training.pupil import Pupil
from worker.training.ring import Ring, joined, loopback_interface, seed_of
from worker.training.sharing import Share


def test_each_process_draws_anew_at_each_step() -> None:
    seeds = [seed_of(seed, step, rank) for seed in (0, 1) for step in range(20) for rank in (1, 2, 3)]
    assert len(set(seeds)) == len(seeds)
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3)


def test_they_talk_where_nobody_else_hears() -> None:
    addresses = psutil.net_if_addrs()[loopback_interface()]
    assert "127.0.0.1" in [one.address for one in addresses]


def test_what_nobody_used_keeps_no_gradient(tmp_path: Path) -> None:
    """An optimizer would let the weight decay of a gradient that is all zeros."""
    model = BertForSequenceClassification(BertConfig(**{**TINY, "num_hidden_layers": 1}))
    model.register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
    codes = np.arange(16) % 2
    share = Share(Pupil(model), Lessons(np.arange(16), texts(16), codes), Aim(), 0, "fp32")
    with joined(tmp_path / "meeting", 0, 1):
        ring = Ring(share)
        step = ring.begin([[3, 1], [7]])
        assert step is not None
        assert (len(step.batches), step.counts["examples"]) == (2, 3)
        for batch in step.batches:
            share.aim.losses(share.pupil, batch, step.counts)[0].backward()
        before = model.get_parameter("classifier.weight").grad
        assert before is not None
        assert ring.gather({"loss": 1.0}) == {}
        after = model.get_parameter("classifier.weight").grad
        assert after is not None
        torch.testing.assert_close(after, before)
        assert model.get_parameter("idle").grad is None
        ring.end()
    assert not torch.distributed.is_initialized()
