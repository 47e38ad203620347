"""The loss, how it is divided, and what is learned besides the model."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from core.methods import LogitsMethod
from tests.worker.training.conftest import TINY, Lab, Notebook
from worker.training.aim import Aim, mean_over_tokens
from worker.training.lessons import Lessons
from worker.training.objectives.registry import objective_of
from worker.training.order import LengthGroupedSteps
from worker.training.pupil import Pupil
from worker.training.tokens import Encoded
from worker.training.trainer import DistilTrainer


def texts(count: int, seed: int = 0) -> Encoded:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, 12, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = draw.integers(5, TINY["vocab_size"], starts[-1]).astype(np.int32)
    return Encoded(ids, None, starts, np.zeros(count, dtype=bool), pad_id=0, pads_left=False)


def one_step(
    tmp_path: Path, tokenizer: Any, micro_batches: int, alpha: float, *, is_even: bool = False
) -> dict[str, torch.Tensor]:
    """Return the gradients of the first optimizer step over 16 examples, 5 of them labelled and not spread evenly."""
    torch.manual_seed(0)
    config = BertConfig(**{**TINY, "num_hidden_layers": 1}, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    pupil = Pupil(BertForSequenceClassification(config))
    codes = np.full(16, -1, dtype=np.int64)
    codes[[0, 1, 2, 3, 9]] = [0, 1, 1, 0, 1]
    teacher = np.random.default_rng(1).normal(size=(16, 2)).astype(np.float32)
    caught: dict[str, torch.Tensor] = {}

    class Catching(DistilTrainer):
        def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
            caught.update({name: p.grad.clone() for name, p in pupil.named_parameters() if p.grad is not None})
            return super()._get_grad_norm(model, grad_norm)

    arguments = TrainingArguments(
        output_dir=str(tmp_path / f"{micro_batches}"),
        max_steps=1,
        max_grad_norm=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=True,
    )
    aim = Aim(alpha=alpha, temperature=2.0, objective=objective_of(LogitsMethod()))
    lessons = Lessons(np.arange(16), texts(16), codes, teacher)
    steps = LengthGroupedSteps(lessons.lengths, 16, 0, micro_batches, is_even=is_even)
    Catching(pupil, arguments, lessons, aim, tokenizer, None, [], steps).train()
    return caught


@pytest.mark.parametrize("is_even", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_four_micro_batches_are_one_of_all_their_examples(
    tmp_path: Path, tokenizer: Any, alpha: float, is_even: bool
) -> None:
    whole, parts = (one_step(tmp_path, tokenizer, count, alpha, is_even=is_even) for count in (1, 4))
    assert whole
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-6, rtol=1e-4)


def test_the_loss_is_the_weighted_sum_of_its_parts(lab: Lab) -> None:
    notebook = Notebook()
    lab.run(notebook, alpha=0.3, evaluation={"baseline": False})
    parts = zip(*(notebook.series[name] for name in ("loss", "kd_loss", "ce_loss")), strict=True)
    for (_, loss), (_, kd), (_, ce) in parts:
        assert loss == pytest.approx(0.3 * kd + 0.7 * ce, rel=1e-4)


def test_a_student_that_starts_as_its_teacher_has_no_loss_from_it(lab: Lab) -> None:
    notebook = Notebook()
    lab.run(
        notebook,
        student={"from_teacher": {"layers": [0, 1, 2, 3]}},
        alpha=1.0,
        training={"max_steps": 1, "learning_rate": 1e-9},
        evaluation={"baseline": False},
    )
    (_, dropped_out), *_ = notebook.series["kd_loss"]
    assert dropped_out < 0.6  # the student drops out, the teacher does not
    assert notebook.series["validation/kl"][-1][1] == pytest.approx(0.0, abs=1e-5)
    assert notebook.series["validation/agreement"][-1][1] == 1.0


def test_unlabelled_examples_count_in_the_teachers_term_alone(lab: Lab) -> None:
    notebook = Notebook()
    outcome = lab.run(notebook, alpha=0.5)
    examples = outcome.report.examples
    assert (examples.train, examples.labelled, examples.validation, examples.test) == (152, 72, 24, 24)
    assert len(notebook.series["kd_loss"]) == 6


@pytest.mark.parametrize("hidden", [{"type": "cosine"}, {"type": "mse", "weight": 0.5, "layers": [[1, 0]]}])
def test_a_narrower_student_learns_hidden_states_through_a_projection(lab: Lab, hidden: dict[str, Any]) -> None:
    narrow = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    notebook = Notebook()
    outcome = lab.run(
        notebook,
        student={"config": {**narrow, "intermediate_size": 32, "max_position_embeddings": 64}},
        method={"hidden": hidden},
        training={"max_steps": 30, "learning_rate": 5e-3},
        evaluation={"baseline": False},
    )
    losses = [value for _, value in notebook.series["hidden_loss"]]
    assert losses[-1] < 0.8 * losses[0]
    assert not [name for name in load_file(outcome.student / "model.safetensors") if "projection" in name]
    checkpoint = notebook.checkpoints[-1][2]
    kept = load_file(checkpoint / "training_only.safetensors")
    assert {tuple(tensor.shape) for tensor in kept.values()} == {(32, 16)}


def test_the_mean_over_tokens_does_not_see_padding() -> None:
    states = torch.arange(12.0).reshape(1, 3, 4)
    found = mean_over_tokens(states, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, states[:, :2].mean(dim=1))


def test_a_lopsided_loss_is_said_once(lab: Lab) -> None:
    notebook = Notebook()
    lab.run(notebook, T=1000.0, method={"divergence": "tvd"}, training={"max_steps": 12})
    warnings = [message for level, message in notebook.events if level == "warning" and "over 20 times" in message]
    assert len(warnings) == 1
    assert warnings[0].startswith("kd_loss is over 20 times ce_loss")


def test_progress_never_falls_and_ends_at_the_whole(lab: Lab) -> None:
    notebook = Notebook()
    lab.run(notebook)
    percents = [progress.percent for progress in notebook.seen]
    assert percents == sorted(percents)
    assert percents[-1] == pytest.approx(100.0)
    assert notebook.seen[-1].total_steps == 12
    assert notebook.seen[-1].step == 12
    assert all(math.isfinite(progress.seconds_remaining or 0) for progress in notebook.seen)
