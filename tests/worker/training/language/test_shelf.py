"""What the teachers say is the same whether they read along or what they said was kept on disk.

Legend: N kept tokens of a batch, V vocabulary, K largest probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from core.methods import LogitsMethod
from core.spec import DatasetSpec
from tests.worker.training.language.conftest import VOCABULARY, llama
from worker.training.device import Precision
from worker.training.language import data
from worker.training.language.aim import WritingAim
from worker.training.language.lessons import WritingLessons
from worker.training.language.pupil import WritingPupil
from worker.training.language.scripts import Scripts, write_down
from worker.training.language.shelf import keep_likeliest, keep_states, likeliest_bytes, states_bytes
from worker.training.language.signal import Present, Signal, Voices
from worker.training.objectives.registry import DIVERGENCES, Objective, objective_of

F_DIVERGENCES = sorted(set(DIVERGENCES) - {"mse"})
TEMPERATURE, ALPHA = 1.7, 0.6
ROWS = np.arange(4, 14)
STUDENT = llama(layers=1, seed=5)
TEACHERS = [llama(seed=1), llama(VOCABULARY + 64, layers=2, seed=2, tied=False)]
"""The second one pads its vocabulary to another size."""


def named(name: str) -> Objective:
    return objective_of(LogitsMethod.model_validate({"divergence": name}))


def quiet(_: int) -> None: ...


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory, dataset: Path, tokenizer: PreTrainedTokenizerFast) -> Scripts:
    writings = data.read(dataset, DatasetSpec.model_validate({"id": "ds"}), 0)
    return write_down(writings, tokenizer, "the student", 32, False, tmp_path_factory.mktemp("scripts"))


@dataclass(frozen=True)
class Class:
    """Some teachers and what they read."""

    voices: Voices
    scripts: Scripts
    folder: Path

    @property
    def each(self) -> list[Scripts]:
        return [self.scripts] * len(self.voices.models)

    def signal(self, kind: str, top_k: int = 0) -> Signal:
        if kind == "present":
            return Present(self.voices, self.each)
        if kind == "states":
            return keep_states(self.voices, self.each, ROWS, self.folder, quiet)
        return keep_likeliest(self.voices, self.each, ROWS, self.folder, quiet, top_k=top_k, temperature=TEMPERATURE)

    def loss(self, signal: Signal, objective: Objective) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of a batch and its gradients, as the training makes them, five rows at a time."""
        pupil = WritingPupil(STUDENT)
        aim = WritingAim("fp32", ALPHA, TEMPERATURE, objective, signal, chunk_rows=5)
        batch = WritingLessons(ROWS, self.scripts, signal).collate([int(row) for row in ROWS])
        loss, _, _ = aim.losses(pupil, batch, aim.counts([batch]))
        return loss.detach(), gradients(loss)


def class_of(scripts: Scripts, folder: Path, count: int = 1, precision: Precision = "fp32") -> Class:
    models = [model.eval() for model in TEACHERS[:count]]
    return Class(Voices(models, [1.0, 3.0][:count], VOCABULARY, precision), scripts, folder)


def gradients(loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(STUDENT.parameters())))


def kept_logits(model: nn.Module, script: dict[str, Any]) -> Tensor:
    """Every logit of every position, and then those that count: what the training never makes."""
    logits_NV: Tensor = model(**script["texts"]).logits[script["predicts"]][:, :VOCABULARY]
    return logits_NV


def plain(scripts: Scripts, teachers: Sequence[nn.Module], objective: Objective) -> tuple[Tensor, list[Tensor]]:
    """The definition of the loss with whole models and whole vocabularies."""
    script = scripts.script(ROWS)
    student_NV = kept_logits(STUDENT, script)
    with torch.no_grad():
        if len(teachers) == 1:
            teacher_NV = kept_logits(teachers[0], script)
        else:
            mixed = [torch.softmax(kept_logits(one, script) / TEMPERATURE, dim=-1) for one in teachers]
            teacher_NV = (0.25 * mixed[0] + 0.75 * mixed[1]).log() * TEMPERATURE
    every_N = torch.ones(len(student_NV), dtype=torch.bool)
    kd = objective(student_NV, teacher_NV, every_N, temperature=TEMPERATURE)
    ce = cross_entropy(student_NV, script["targets"], reduction="sum")
    loss = (ALPHA * kd + (1 - ALPHA) * ce) / len(student_NV)
    return loss.detach(), gradients(loss)


def same(found: tuple[Tensor, list[Tensor]], wanted: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=1e-5)
    for own, theirs in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["present", "states"])
@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_reading_along_and_kept_states_are_the_plain_loss(
    scripts: Scripts, tmp_path: Path, name: str, kind: str
) -> None:
    group = class_of(scripts, tmp_path)
    same(group.loss(group.signal(kind), named(name)), plain(scripts, TEACHERS[:1], named(name)))


@pytest.mark.parametrize("top_k", [VOCABULARY - 1, VOCABULARY, VOCABULARY + 1])
@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_all_words_but_one_and_the_rest_are_the_plain_loss(
    scripts: Scripts, tmp_path: Path, name: str, top_k: int
) -> None:
    group = class_of(scripts, tmp_path)
    same(group.loss(group.signal("likeliest", top_k), named(name)), plain(scripts, TEACHERS[:1], named(name)))


@pytest.mark.parametrize(("kind", "top_k"), [("present", 0), ("states", 0), ("likeliest", VOCABULARY - 1)])
def test_teachers_of_padded_vocabularies_mix_their_softened_probabilities(
    scripts: Scripts, tmp_path: Path, kind: str, top_k: int
) -> None:
    group, objective = class_of(scripts, tmp_path, count=2), named("forward_kl")
    same(group.loss(group.signal(kind, top_k), objective), plain(scripts, TEACHERS, objective))


@pytest.mark.parametrize("name", F_DIVERGENCES)
def test_fewer_words_never_see_more(scripts: Scripts, tmp_path: Path, name: str) -> None:
    """Data-processing inequality: joining words to one class can only lose a difference."""
    group = class_of(scripts, tmp_path)
    losses = [group.loss(group.signal("likeliest", top_k), named(name))[0].item() for top_k in (1, 4, 16, 64)]
    losses.append(group.loss(group.signal("present"), named(name))[0].item())
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


@pytest.mark.parametrize("top_k", [1, 20])
def test_a_student_that_says_the_same_costs_nothing(scripts: Scripts, tmp_path: Path, top_k: int) -> None:
    voices = Voices([STUDENT.eval()], [1.0], VOCABULARY, "fp32")
    group = Class(voices, scripts, tmp_path)
    loss, _ = group.loss(group.signal("likeliest", top_k), named("forward_kl"))
    ce_alone, _ = group.loss(group.signal("present"), named("forward_kl"))
    assert loss.item() == pytest.approx(ce_alone.item(), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_size_of_states_is_known_beforehand(
    scripts: Scripts, tmp_path: Path, count: int, precision: Precision
) -> None:
    group = class_of(scripts, tmp_path, count, precision)
    group.signal("states")
    tokens = int(scripts.kept(ROWS).sum())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == states_bytes(group.voices, tokens)


@pytest.mark.parametrize("top_k", [1, 7, VOCABULARY - 1, VOCABULARY, 2 * VOCABULARY])
def test_the_size_of_the_likeliest_words_is_known_beforehand(scripts: Scripts, tmp_path: Path, top_k: int) -> None:
    group = class_of(scripts, tmp_path)
    group.signal("likeliest", top_k)
    tokens = int(scripts.kept(ROWS).sum())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == likeliest_bytes(group.voices, top_k, tokens)


def test_kept_states_in_bf16_are_those_that_the_head_reads(scripts: Scripts, tmp_path: Path) -> None:
    group = class_of(scripts, tmp_path, precision="bf16")
    along, kept = Present(group.voices, group.each), keep_states(group.voices, group.each, ROWS, tmp_path, quiet)
    rows = slice(0, int(scripts.kept(ROWS).sum()))
    said = [group.voices.spoken(one.hidden(one.of(ROWS)), rows, TEMPERATURE).mixed(rows) for one in (along, kept)]
    torch.testing.assert_close(said[0], said[1], atol=0.05, rtol=0.02)


def test_examples_are_found_on_the_shelf_in_any_order(scripts: Scripts, tmp_path: Path) -> None:
    group = class_of(scripts, tmp_path)
    kept = keep_states(group.voices, group.each, ROWS, tmp_path, quiet)
    some = np.array([9, 4, 12])
    along = Present(group.voices, group.each)
    torch.testing.assert_close(kept.hidden(kept.of(some))[0], along.hidden(along.of(some))[0], atol=1e-5, rtol=1e-5)
