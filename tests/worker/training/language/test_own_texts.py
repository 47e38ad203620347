"""Steps with the student's own texts: who writes, what is learned of it, and what it depends on."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from core.methods import OnPolicyMethod
from tests.worker.training.language.conftest import TEMPLATE, chats, llama
from tests.worker.training.language.test_asking import readings_of, told
from worker.training.language.aim import WritingAim
from worker.training.language.own_texts import Author, FreshLessons, script_of, tokens_of
from worker.training.language.pupil import WritingPupil
from worker.training.language.signal import Present, Voices
from worker.training.language.twin import Twin
from worker.training.lessons import IGNORED
from worker.training.objectives.registry import objective_of

ROWS = list(range(8))


def method_of(**changes: object) -> OnPolicyMethod:
    written = {"student_share": 0.5, "generation": {"max_new_tokens": 8, "batch_size": 3}, **changes}
    return OnPolicyMethod.model_validate(written)


def lessons_of(folder: Path, tokenizer: PreTrainedTokenizerFast, method: OnPolicyMethod) -> FreshLessons:
    columns = {**told(12), "split": ["train"] * 8 + ["test"] * 4}
    readings, _ = readings_of(
        folder, tokenizer, columns, dataset={"columns": {"split": "split"}}, method=method.model_dump()
    )
    return FreshLessons(readings, Author(method, 5, tokenizer, Twin("fp32"), lambda: None))


@pytest.fixture
def lessons(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> FreshLessons:
    return lessons_of(tmp_path, tokenizer, method_of())


@pytest.fixture(scope="module")
def pupil() -> WritingPupil:
    return WritingPupil(llama(layers=2, seed=4))


def test_data_set_examples_are_read_as_they_are_from_disk(lessons: FreshLessons) -> None:
    scripts = lessons.readings.student
    spans = [slice(scripts.starts[row], scripts.starts[row + 1]) for row in ROWS]
    found = script_of([(tokens_of(scripts, row), scripts.is_target[s]) for row, s in zip(ROWS, spans, strict=True)], 0)
    wanted = scripts.script(ROWS)
    for name in ("predicts", "targets"):
        assert torch.equal(found[name], wanted[name])
    assert all(torch.equal(found["texts"][name], tensor) for name, tensor in wanted["texts"].items())


def test_an_own_text_follows_its_prompt_and_has_no_label(lessons: FreshLessons, pupil: WritingPupil) -> None:
    (batch,) = lessons.fill(pupil, [lessons.collate(ROWS)], step=3)
    own = [row for row in ROWS if lessons.author.is_own(row, 3)]
    written = lessons.author.write(pupil.model, lessons.readings.student_prompts, own, 3)
    assert 0 < len(own) < 8
    targets = iter(batch["targets"].split(batch["predicts"].sum(dim=1).tolist()))
    for row, ids, real in zip(ROWS, batch["texts"]["input_ids"], batch["texts"]["attention_mask"], strict=True):
        read, found = ids[real.bool()].tolist(), next(targets)
        if row in own:
            assert read == tokens_of(lessons.readings.student_prompts, row).tolist() + written[row]
            assert found.tolist() == [IGNORED] * len(written[row])
        else:
            assert read == tokens_of(lessons.readings.student, row).tolist()
            assert found.tolist() == lessons.readings.student.targets(row).tolist()
    assert torch.equal(batch["teachers"][0]["predicts"], batch["predicts"])


def test_a_teacher_reads_an_own_text_behind_its_own_prompt(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, pupil: WritingPupil
) -> None:
    """Each model has its own chat template; the tokens that are scored are the same."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = "<|start|>So:" + TEMPLATE
    columns = {**chats(12), "split": ["train"] * 8 + ["test"] * 4}
    readings, _ = readings_of(tmp_path, tokenizer, columns, other, dataset={"columns": {"split": "split"}})
    lessons = FreshLessons(readings, Author(method_of(), 5, tokenizer, Twin("fp32"), lambda: None))
    (batch,) = lessons.fill(pupil, [lessons.collate(ROWS)], step=3)
    teacher, mask = batch["teachers"][0], batch["targets"] != IGNORED
    assert 0 < mask.sum() < len(mask)
    own = [row for row in ROWS if lessons.author.is_own(row, 3)]
    written = lessons.author.write(pupil.model, readings.student_prompts, own, 3)
    theirs = iter(teacher["targets"].split(teacher["predicts"].sum(dim=1).tolist()))
    for row, ids, real in zip(ROWS, teacher["texts"]["input_ids"], teacher["texts"]["attention_mask"], strict=True):
        said, read = next(theirs).tolist(), ids[real.bool()].tolist()
        assert said == (written[row] if row in own else readings.student.targets(row).tolist())
        assert other.decode(read).startswith("<|start|>So:<|start|>user")
        assert read[: len(read) - len(said)] == tokens_of(readings.teacher_prompts[0], row).tolist()


def test_what_is_written_depends_on_seed_step_and_example_alone(lessons: FreshLessons, pupil: WritingPupil) -> None:
    prompts, write = lessons.readings.student_prompts, lessons.author.write
    together = write(pupil.model, prompts, ROWS, 3)
    assert {row: write(pupil.model, prompts, [row], 3)[row] for row in reversed(ROWS)} == together
    assert write(pupil.model, prompts, ROWS, 4) != together
    other = Author(lessons.author.method, 6, lessons.author.tokenizer, Twin("fp32"), lambda: None)
    assert other.write(pupil.model, prompts, ROWS, 3) != together


def test_micro_batches_do_not_change_what_a_step_holds(lessons: FreshLessons, pupil: WritingPupil) -> None:
    (whole,) = lessons.fill(pupil, [lessons.collate(ROWS)], step=3)
    halves = lessons.fill(pupil, [lessons.collate(ROWS[:4]), lessons.collate(ROWS[4:])], step=3)
    assert torch.equal(torch.cat([half["targets"] for half in halves]), whole["targets"])
    ids = [tokens for half in halves for tokens in half["texts"]["input_ids"][half["texts"]["attention_mask"].bool()]]
    assert ids == whole["texts"]["input_ids"][whole["texts"]["attention_mask"].bool()].tolist()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_is_what_was_asked_for(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, share: float) -> None:
    author = lessons_of(tmp_path, tokenizer, method_of(student_share=share)).author
    draws = [author.is_own(row, step) for row in range(40) for step in range(50)]
    assert np.mean(draws) == pytest.approx(share, abs=0.04)


def test_the_meter_says_means_and_starts_anew(lessons: FreshLessons, pupil: WritingPupil) -> None:
    meter = lessons.author.meter
    assert meter.read() == {}
    written = lessons.author.write(pupil.model, lessons.readings.student_prompts, ROWS, 3)
    ends = [ids[-1] == 2 for ids in written.values()]
    measured = meter.read()
    assert measured["on_policy/finished"] == np.mean(ends)
    assert measured["on_policy/tokens_per_text"] == np.mean(
        [len(ids) - end for ids, end in zip(written.values(), ends, strict=True)]
    )
    assert measured["on_policy/tokens_per_second"] > 0
    assert meter.read() == {}


def naive(
    batch: dict[str, Tensor], student: nn.Module, teacher: nn.Module, method: OnPolicyMethod, alpha: float, t: float
) -> Tensor:
    """The definition: every logit at once, own texts told by their missing labels."""
    mask_BT = batch["predicts"]
    student_BTV = student(**batch["texts"]).logits
    teacher_BTV = teacher(**batch["texts"]).logits
    divergence = objective_of(method)(student_BTV, teacher_BTV, mask_BT, temperature=t)
    ce = cross_entropy(student_BTV[mask_BT], batch["targets"], ignore_index=IGNORED, reduction="sum")
    total: Tensor = (alpha * divergence + (1 - alpha) * ce) / mask_BT.sum()
    return total


@pytest.mark.parametrize("divergence", ["jsd", "reverse_kl", "forward_kl", "tvd"])
def test_the_loss_is_its_definition_and_own_texts_have_no_cross_entropy(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, pupil: WritingPupil, divergence: str
) -> None:
    lessons = lessons_of(tmp_path, tokenizer, method_of(divergence=divergence))
    teacher = llama(layers=3)
    (batch,) = lessons.fill(pupil, [lessons.collate(ROWS)], step=3)
    voices = Voices([teacher], [1.0], 320, "fp32")
    signal = Present(voices, lessons.readings.teachers)
    aim = WritingAim("fp32", 0.6, 2.0, objective_of(lessons.author.method), signal, chunk_rows=5)
    counts = aim.counts([batch])
    assert 0 < counts["labelled"] < counts["kept"]
    loss, parts, _ = aim.losses(pupil, batch, counts)
    wanted = naive(batch, pupil.model, teacher, lessons.author.method, 0.6, 2.0)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    shares = torch.tensor([0.6, 0.4 * counts["labelled"] / counts["kept"]])
    assert (shares * torch.stack([parts["kd_loss"], parts["ce_loss"]])).sum().item() == pytest.approx(loss.item())
    weights = list(pupil.parameters())
    for own, other in zip(torch.autograd.grad(loss, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-4)
