"""What the report measures is what its definition says.

Legend: N kept tokens, V vocabulary.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax
from transformers import PreTrainedTokenizerFast

from core.spec import DatasetSpec
from tests.worker.training.language.conftest import VOCABULARY, llama
from worker.training.language import data
from worker.training.language.evaluation import Tally, Yardstick, perplexity, ratio_interval, tallies
from worker.training.language.samples import distinct_2, spread, write
from worker.training.language.scripts import Scripts, write_down
from worker.training.language.signal import Present, Voices

ROWS = np.arange(3, 40, 2)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory, dataset: Path, tokenizer: PreTrainedTokenizerFast) -> Scripts:
    writings = data.read(dataset, DatasetSpec.model_validate({"id": "ds"}), 0)
    return write_down(writings, tokenizer, "the student", 32, False, tmp_path_factory.mktemp("scripts"))


def measured(scripts: Scripts, models: dict[str, Any], teacher: Any) -> dict[str, Tally]:
    voices = Voices([teacher.eval()], [1.0], VOCABULARY, "fp32")
    yardstick = Yardstick(voices, Present(voices, [scripts]))
    return tallies(models, dict.fromkeys(models, scripts), ROWS, yardstick, lambda _: None, mixture="teacher")


def test_loss_kl_and_agreement_are_means_over_kept_tokens(scripts: Scripts) -> None:
    student, teacher = llama(layers=1, seed=5), llama(seed=1)
    found = measured(scripts, {"student": student}, teacher)["student"]
    script = scripts.script(ROWS)
    with torch.no_grad():
        own_NV, theirs_NV = (
            log_softmax(model.eval()(**script["texts"]).logits[script["predicts"]], dim=-1)
            for model in (student, teacher)
        )
    kl = (theirs_NV.exp() * (theirs_NV - own_NV)).sum(-1).mean().item()
    same = (own_NV.argmax(-1) == theirs_NV.argmax(-1)).float().mean().item()
    assert found.mean("loss") == pytest.approx(cross_entropy(own_NV, script["targets"]).item(), rel=1e-5)
    assert found.mean("kl") == pytest.approx(kl, rel=1e-5)
    assert found.mean("agreement") == pytest.approx(same)


def test_the_teacher_is_itself(scripts: Scripts) -> None:
    teacher = llama(seed=1)
    found = measured(scripts, {"copy": llama(seed=1)}, teacher)
    assert found["teacher"].mean("kl") == 0
    assert found["copy"].mean("kl") == pytest.approx(0, abs=1e-6)
    assert found["copy"].mean("agreement") == 1
    assert found["copy"].mean("loss") == pytest.approx(found["teacher"].mean("loss"), rel=1e-6)


def test_measuring_changes_no_model_and_draws_no_number(scripts: Scripts) -> None:
    student, teacher = llama(layers=1).train(), llama()
    state = torch.random.get_rng_state()
    measured(scripts, {"student": student}, teacher)
    assert student.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_interval_of_a_difference_holds_it_and_is_drawn_by_the_seed() -> None:
    draw = np.random.default_rng(0)
    kept = draw.integers(5, 50, 200)
    differences = draw.normal(-0.1, 0.05, 200) * kept
    mean = differences.sum() / kept.sum()
    found = ratio_interval(differences, kept, 1)
    assert found.low < mean < found.high < 0
    assert found == ratio_interval(differences, kept, 1)
    half_width = 1.96 * 0.05 / math.sqrt(200)
    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.4)


def test_a_perplexity_stays_finite_for_json() -> None:
    assert perplexity(math.log(12.5)) == pytest.approx(12.5)
    assert math.isfinite(perplexity(1e9))


def test_distinct_2_is_the_share_of_different_pairs() -> None:
    assert distinct_2([[1, 2, 1, 2], [3]]) == pytest.approx(2 / 3)
    assert distinct_2([[1], []]) is None


def test_samples_are_spread_evenly() -> None:
    assert spread(np.arange(100), 3).tolist() == [0, 50, 99]
    assert spread(np.arange(2), 3).tolist() == [0, 1]


def test_what_is_written_is_always_the_likeliest_token(scripts: Scripts, tokenizer: PreTrainedTokenizerFast) -> None:
    model = llama(seed=1).eval()
    rows = np.array([4, 9, 0, 2, 7])
    written = write(model, tokenizer, scripts, rows, "fp32")
    for row, tokens in zip(rows, written.tokens, strict=True):
        ids = scripts.prompt(int(row))
        assert tokens
        for token in tokens:
            with torch.no_grad():
                assert model(input_ids=ids).logits[0, -1].argmax().item() == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    assert written.tokens_per_second > 0
