"""A student learns from the logits of a teacher whose tokens are not its own.

Legend: N kept tokens of the student, M of the teacher, n of them in one chunk, D hidden width, V and W vocabularies.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, PreTrainedModel

from core.errors import TokenizersDiffer
from core.report import REPORT
from core.spec import DatasetSpec
from tests.worker.training.conftest import Notebook, write_parquet
from tests.worker.training.language.conftest import VOCABULARY, WritingLab, bpe, chats, gpt2, llama, saved
from worker.training.language import data, lectures
from worker.training.language.aim import WritingAim
from worker.training.language.alignment import NOWHERE, Reader, mates_of
from worker.training.language.evaluation import tallies
from worker.training.language.lessons import WritingLessons
from worker.training.language.paired import Paired, PairedYardstick, distance
from worker.training.language.pupil import WritingPupil
from worker.training.language.scripts import write_down
from worker.training.language.shelf import keep_states
from worker.training.language.signal import Present, Voices
from worker.training.objectives.uld import uld, uld_of_rows
from worker.training.observer import Stopped

OTHER = bpe(["three four five and some other words"], specials=("<|more|>",))
ULD = {"alignment": "uld"}
QUICK: dict[str, Any] = {"method": ULD, "evaluation": {"baseline": False}}
ROWS = [4, 9, 1, 30]
ALPHA, TEMPERATURE = 0.7, 1.5


@dataclass(frozen=True)
class Met:
    """A teacher, a student of other tokens, and where they meet."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    paired: Paired
    lessons: WritingLessons

    def plain(self) -> Tensor:
        """The definition: every logit at once."""
        mates_N = self.paired.mates.of(ROWS)
        own, theirs = self.lessons.scripts.script(ROWS), self.paired.mates.teacher.script(ROWS)
        with torch.no_grad():
            teacher_MW = self.teacher(**theirs["texts"]).logits[theirs["predicts"]]
        student_NV = self.student(**own["texts"]).logits[own["predicts"]]
        is_paired_N = mates_N != NOWHERE
        kd = uld_of_rows(student_NV[is_paired_N], teacher_MW[mates_N[is_paired_N]], TEMPERATURE).sum()
        ce = cross_entropy(student_NV, own["targets"], reduction="sum")
        return (ALPHA * kd + (1 - ALPHA) * ce) / len(mates_N)


@pytest.fixture
def met(tmp_path: Path, dataset: Path, tokenizer: Any) -> Met:
    writings = data.read(dataset, DatasetSpec.model_validate({"id": "ds"}), 0)
    readers = [
        Reader(one, name, write_down(writings, one, name, 40, False, tmp_path / name))
        for name, one in (("student", OTHER), ("teacher", tokenizer))
    ]
    mates, teacher, student = mates_of(writings, *readers), llama(tied=False).eval(), gpt2(384, layers=1).eval()
    voices = Voices([teacher], [1.0], VOCABULARY, "fp32")
    paired = Paired(voices, Present(voices, [mates.teacher]), mates)
    return Met(teacher, student, paired, WritingLessons(np.array(ROWS), readers[0].scripts, paired))


@pytest.mark.parametrize("is_kept", [False, True], ids=["read along", "kept on disk"])
@pytest.mark.parametrize("rows", [1, 5, None])
def test_chunked_it_is_the_plain_loss_and_its_gradients(
    met: Met, tmp_path: Path, rows: int | None, is_kept: bool
) -> None:
    aim = WritingAim("fp32", ALPHA, TEMPERATURE, uld, met.paired, rows)
    if is_kept:
        voices, scripts = met.paired.voices, [met.paired.mates.teacher]
        states = keep_states(voices, scripts, np.arange(40), tmp_path / "kept", lambda _: None)
        aim = WritingAim("fp32", ALPHA, TEMPERATURE, uld, Paired(voices, states, met.paired.mates), rows)
    lessons, pupil = WritingLessons(met.lessons.rows, met.lessons.scripts, aim.signal), WritingPupil(met.student)
    batch = lessons.collate(ROWS)
    assert 0 < int((batch["mates"] != NOWHERE).sum()) < len(batch["mates"])
    loss, _, _ = aim.losses(pupil, batch, aim.counts([batch]))
    plain = met.plain()
    torch.testing.assert_close(loss, plain, atol=1e-5, rtol=1e-5)
    learned = list(met.student.parameters())
    own, wanted = torch.autograd.grad(loss, learned), torch.autograd.grad(plain, learned)
    for one, other in zip(own, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_what_is_measured_is_the_mean_over_tokens_that_meet(met: Met) -> None:
    yardstick = PairedYardstick(met.paired, 384, TEMPERATURE)
    tally = tallies({"m": met.student}, {"m": met.lessons.scripts}, np.array(ROWS), yardstick, lambda _: None)["m"]
    whole = met.plain() * tally.kept.sum()
    paired = met.paired.mates.met(ROWS)
    found = distance(tally)
    assert found is not None
    assert 0 < found <= 2
    assert ALPHA * found * paired + (1 - ALPHA) * tally.sums["loss"].sum() == pytest.approx(whole.item(), rel=1e-4)
    assert set(tally.sums) == {"loss", "kd_loss", "paired"}


@pytest.fixture
def other_student(tmp_path: Path) -> Path:
    return saved(tmp_path / "other", llama(384, layers=2, tied=False), OTHER)


def test_a_job_brings_the_student_nearer_and_says_what_cannot_be_measured(lab: WritingLab, other_student: Path) -> None:
    notebook = Notebook()
    outcome, report = lab.run(
        notebook,
        teacher={"model": "teacher", "finetune": {"epochs": 8, "learning_rate": 5e-3}},
        student={"model": "other"},
        student_folder=other_student,
        method=ULD,
        alpha=0.9,
        training={"max_steps": 16, "learning_rate": 3e-3, "max_length": 40},
    )
    before, after, alone = report.student_before, report.student_after, report.baseline
    assert before.uld_to_teacher is not None
    assert after.uld_to_teacher is not None
    assert alone is not None
    assert alone.uld_to_teacher is not None
    assert after.uld_to_teacher < min(before.uld_to_teacher, alone.uld_to_teacher)
    assert after.loss < before.loss
    assert report.teacher is not None
    assert report.teacher.uld_to_teacher is None
    assert {one.kl_to_teacher for one in (report.teacher, before, after, alone)} == {None}
    assert {one.agreement for one in (report.teacher, before, after, alone)} == {None}
    assert report.gain is not None
    assert (report.gain.kl_to_teacher, report.gain.kl_interval, report.gain.agreement) == (None, None, None)
    assert report.gain.loss == pytest.approx(after.loss - alone.loss)
    assert report.alignment is not None
    assert 0 < report.alignment.aligned_tokens <= report.examples.kept_tokens
    assert "logits cannot be compared" in report.alignment.incomparable
    assert "there is no KL to it" in report.verdict
    assert report.speedup is None
    assert {"validation/uld", "validation/loss", "kd_loss"} <= set(notebook.series)
    assert not {"validation/kl", "validation/agreement"} & set(notebook.series)
    assert notebook.said("begin where one of the teacher's does")
    assert notebook.said("KL to the teacher and agreement are not measured")
    assert all(0 <= value <= 2 for _, value in notebook.series["kd_loss"])
    assert REPORT.validate_json((outcome.student / "report.json").read_text()) == report
    assert len(AutoTokenizer.from_pretrained(outcome.student)) == len(OTHER)
    for page in ("report.html", "README.md"):
        said = (outcome.student / page).read_text()
        assert "KL and agreement were not measured" in said
        assert "Distance of sorted probabilities" in said


def test_each_model_writes_in_its_own_tokens(lab: WritingLab, other_student: Path, tokenizer: Any) -> None:
    """A student that begins as the teacher does, but for its tokenizer, would otherwise share its words."""
    job = {"student": {"model": "other"}, "student_folder": other_student, **QUICK, "training": {"max_steps": 1}}
    _, report = lab.run(**job)
    _, plain = lab.run(folder="plain", evaluation={"baseline": False}, training={"max_steps": 1})
    assert [sample.teacher for sample in report.samples] == [sample.teacher for sample in plain.samples]
    assert [sample.prompt for sample in report.samples] == [sample.prompt for sample in plain.samples]


TRAINING = {"max_steps": 8, "batch_size": 8, "checkpoint_every_steps": 3, "max_length": 40, "learning_rate": 1e-3}


def test_stopped_and_resumed_it_is_the_same_student_whether_the_teacher_reads_along_or_beforehand(
    lab: WritingLab, other_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"student": {"model": "other"}, "student_folder": other_student, **QUICK, "training": TRAINING}

    def digest(notebook: Notebook, folder: str) -> str:
        outcome, _ = lab.run(notebook, folder=folder, **job)
        return hashlib.sha256((outcome.student / "model.safetensors").read_bytes()).hexdigest()

    kept, along = Notebook(), Notebook()
    whole = digest(kept, "whole")
    assert kept.said("The teacher reads once: last hidden states of")
    with pytest.raises(Stopped):
        lab.run(Notebook(lambda note: "shutdown" if note.series.get("loss", [(0, 0)])[-1][0] >= 4 else None), **job)
    again = Notebook()
    assert digest(again, "job") == whole
    assert again.said("student: going on from step")
    monkeypatch.setattr(lectures, "MOST_KEPT_BYTES", 1)
    digest(along, "along")
    for name in ("loss", "kd_loss", "validation/uld"):
        assert [v for _, v in along.series[name]] == pytest.approx([v for _, v in kept.series[name]], rel=1e-4)


def test_smaller_micro_batches_are_the_same_steps(lab: WritingLab, other_student: Path) -> None:
    job = {"student": {"model": "other"}, "student_folder": other_student, **QUICK}
    whole, parts = Notebook(), Notebook()
    steps = {**TRAINING, "max_steps": 4}
    lab.run(whole, folder="whole", **job, training=steps)
    lab.run(parts, folder="parts", **job, training={**steps, "batch_size": 2, "gradient_accumulation": 4})
    for name in ("loss", "kd_loss", "ce_loss"):
        assert [v for _, v in parts.series[name]] == pytest.approx([v for _, v in whole.series[name]], rel=1e-3)


def test_chats_through_two_templates_meet_and_a_teacher_is_fine_tuned_first(lab: WritingLab, tmp_path: Path) -> None:
    told = chats(60)
    own = bpe(told["messages"], template="{% for m in messages %}[{{ m.role }}] {{ m.content }}<|end|>{% endfor %}")
    student = saved(tmp_path / "own", llama(layers=1), own)
    path = write_parquet(tmp_path / "chats.parquet", told)
    finetuned = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
    notebook = Notebook()
    _, report = lab.run(
        notebook,
        data=path,
        student={"model": "own"},
        student_folder=student,
        teacher=finetuned,
        training={"max_steps": 2, "max_length": 100},
        **QUICK,
    )
    assert report.alignment is not None
    assert report.alignment.aligned_tokens > 0
    assert "teacher-0/loss" in notebook.series


def test_of_the_same_tokens_all_is_measured_as_ever(lab: WritingLab) -> None:
    notebook = Notebook()
    _, report = lab.run(notebook, **QUICK)
    assert report.alignment is None
    assert report.student_after.kl_to_teacher is not None
    assert report.student_after.uld_to_teacher is None
    assert {"validation/kl", "kd_loss"} <= set(notebook.series)
    assert all(0 <= value <= 2 for _, value in notebook.series["kd_loss"])


def test_completions_of_which_nothing_meets_are_refused(lab: WritingLab, tmp_path: Path) -> None:
    """As where a template turns what the assistant says into something else."""
    own = bpe(["x"], template="{% for m in messages %}{{ m.content | upper | replace(' ', '_') }}{% endfor %}")
    student, path = saved(tmp_path / "own", llama(layers=1), own), tmp_path / "chats.parquet"
    write_parquet(path, chats(60))
    with pytest.raises(TokenizersDiffer, match="no token of the completions begins where"):
        lab.run(data=path, student={"model": "own"}, student_folder=student, training={"max_length": 100}, **QUICK)
