"""Jobs whose student learns on its own texts, and their ways to stop and to go on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from core.errors import DatasetUnusable
from core.report import GenerationReport
from core.wire import Progress
from tests.worker.training.conftest import Notebook, write_parquet
from tests.worker.training.language.conftest import WritingLab, counting, gpt2, saved
from worker.training.exchange import Outcome
from worker.training.generation.writer import ModelWriter
from worker.training.language.pupil import WritingPupil
from worker.training.observer import Stopped, StopReason

ALONE = {"baseline": False}
TOKENS = 8
QUICK = {"max_steps": 2, "learning_rate": 1e-2}


def method_of(share: float = 0.5, **changes: Any) -> dict[str, Any]:
    return {"type": "on_policy", "student_share": share, "generation": {"max_new_tokens": TOKENS}, **changes}


def run(lab: WritingLab, notebook: Notebook | None = None, **changes: Any) -> tuple[Outcome, GenerationReport]:
    settings = {"evaluation": ALONE, "method": method_of(), "alpha": 0.9, **changes}
    return lab.run(notebook, **settings)


def weights_of(outcome: Outcome) -> dict[str, Tensor]:
    return load_file(outcome.student / "model.safetensors")


def bytes_of(outcome: Outcome) -> bytes:
    return (outcome.student / "model.safetensors").read_bytes()


def test_a_student_that_writes_comes_nearer_to_its_teacher_and_says_how(lab: WritingLab) -> None:
    notebook = Notebook()
    _, report = run(lab, notebook, evaluation={"baseline": True}, training={"learning_rate": 5e-3})
    assert report.student_after.kl_to_teacher < report.student_before.kl_to_teacher
    assert report.baseline is not None
    assert report.gain is not None
    wanted = {"loss", "kd_loss", "ce_loss", "validation/kl", "validation/agreement", "baseline/loss"}
    assert wanted <= set(notebook.series)
    for name in ("tokens_per_second", "tokens_per_text", "finished"):
        assert [step for step, _ in notebook.series[f"on_policy/{name}"]] == [1, 2, 3, 4]
    assert all(0 < length <= TOKENS for _, length in notebook.series["on_policy/tokens_per_text"])
    assert notebook.said("the student is asked 36 of them")
    assert report.examples.in_both == report.examples.test == 12, "six prompts are asked over and over"


def test_without_own_texts_it_is_the_logits_method(lab: WritingLab) -> None:
    mixed, plain = Notebook(), Notebook()
    ours, _ = run(lab, mixed, alpha=1.0, method=method_of(0.0, divergence="reverse_kl"), folder="ours")
    theirs, _ = run(lab, plain, alpha=1.0, method={"type": "logits", "divergence": "reverse_kl"}, folder="theirs")
    for name in ("loss", "kd_loss", "ce_loss", "validation/kl"):
        assert dict(mixed.series[name]) == pytest.approx(dict(plain.series[name]), rel=1e-5)
    wanted = weights_of(theirs)
    for name, tensor in weights_of(ours).items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(lab: WritingLab) -> None:
    one, again = (run(lab, folder=name, training={"max_steps": 2})[0] for name in ("one", "again"))
    assert bytes_of(one) == bytes_of(again)
    method = method_of(generation={"max_new_tokens": TOKENS, "seed": 7})
    other, _ = run(lab, folder="other", training={"max_steps": 2}, method=method)
    assert bytes_of(one) != bytes_of(other)


@dataclass
class Interrupting(Notebook):
    """Asks to stop while the text of the step after `after_steps` is written, at its third token."""

    after_steps: int = 0
    looks: int = 0
    tokens: int = 0
    """Signs of life since the step before ended."""

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        self.tokens += self.looks > 1

    def stop_reason(self) -> StopReason | None:
        if self.stages[-1:] != ["training"] or not self.seen or self.seen[-1].step < self.after_steps:
            return None
        self.looks += 1
        # The first look is that of the step's own end.
        return "shutdown" if self.looks > 3 else None


@pytest.fixture
def dropping(tmp_path: Path, dataset: Path, tokenizer: PreTrainedTokenizerFast) -> WritingLab:
    """A lab whose models draw random numbers at every step: GPT-2's dropout."""
    return WritingLab(tmp_path, dataset, saved(tmp_path / "gpt2", gpt2(), tokenizer))


@pytest.mark.parametrize("after_steps", [3, 5], ids=["within an epoch", "between epochs"])
def test_stopped_while_it_writes_and_resumed_it_leaves_the_same_bytes(dropping: WritingLab, after_steps: int) -> None:
    training = {"max_steps": 7, "checkpoint_every_steps": 4}
    whole, _ = run(dropping, folder="whole", training=training)
    notebook = Interrupting(after_steps=after_steps)
    with pytest.raises(Stopped, match="shutdown"):
        run(dropping, notebook, folder="job", training=training)
    assert notebook.tokens <= 3, "it stops at the token at which it is asked to"
    assert notebook.checkpoints[-1][1] == after_steps, "the steps before are kept"
    resumed, second = run(dropping, Notebook(), folder="job", training=training)
    assert bytes_of(resumed) == bytes_of(whole)
    assert second.cost.steps == 7


def test_signs_of_life_go_on_at_every_token(lab: WritingLab) -> None:
    notebook = Notebook()
    run(lab, notebook, training={"max_steps": 2}, method=method_of(1.0), alpha=1.0)
    assert sum(progress.step == 1 for progress in notebook.seen) >= TOKENS


@pytest.mark.parametrize(
    "student",
    [
        {"from_teacher": {"layers": [0, 2]}, "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}},
        {
            "config": {
                "model_type": "llama",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "max_position_embeddings": 64,
            }
        },
    ],
    ids=["lora", "config"],
)
def test_any_student_may_write(lab: WritingLab, student: dict[str, Any]) -> None:
    outcome, report = run(lab, student=student, method=method_of(1.0), alpha=1.0, training=QUICK)
    assert report.student_after.kl_to_teacher != report.student_before.kl_to_teacher
    assert not any("lora" in name for name in weights_of(outcome))


def test_memory_that_does_not_suffice_halves_batches_and_changes_no_step(
    lab: WritingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy, _ = run(lab, folder="roomy", training={"max_steps": 2})
    for kind, name in ((WritingPupil, "forward"), (ModelWriter, "_batch")):
        monkeypatch.setattr(kind, name, cramped(getattr(kind, name)))
    notebook = Notebook()
    halved, _ = run(lab, notebook, folder="cramped", training={"max_steps": 2})
    assert notebook.said("a micro-batch of 8 does not fit")
    wanted = weights_of(roomy)
    for name, tensor in weights_of(halved).items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-5, rtol=1e-4)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Prompts without a completion."""
    return write_parquet(tmp_path / "questions.parquet", {"prompt": counting(60)["prompt"]})


def test_prompts_alone_are_enough_and_the_teacher_answers_what_is_measured(lab: WritingLab, questions: Path) -> None:
    notebook = Notebook()
    _, report = run(
        lab, notebook, data=questions, method=method_of(1.0), alpha=1.0, evaluation={"baseline": True}, training=QUICK
    )
    assert notebook.stages == ["loading", "teaching", "training", "evaluating", "exporting"]
    assert report.baseline is None
    assert notebook.said("no training example has a completion")
    assert notebook.said("The teacher answers 24 held-out prompts")
    assert (report.examples.train, report.examples.validation, report.examples.test) == (36, 12, 12)
    assert report.student_after.kl_to_teacher < report.student_before.kl_to_teacher
    assert [sample.reference for sample in report.samples] == [None] * 3
    assert report.teacher is not None
    assert report.teacher.loss < report.student_before.loss, "they are its own texts"


def test_a_share_for_completions_needs_some(lab: WritingLab, questions: Path) -> None:
    with pytest.raises(DatasetUnusable, match=r"set method\.student_share and alpha to 1"):
        run(lab, data=questions)
    finetuned = {"model": "teacher", "finetune": {"epochs": 1}}
    with pytest.raises(DatasetUnusable, match="cannot be fine-tuned"):
        run(lab, data=questions, method=method_of(1.0), alpha=1.0, teacher=finetuned)


def cramped(method: Any) -> Any:
    """Let no more than four texts at once into memory."""

    def within(self: Any, texts: Any, *rest: Any) -> Any:
        if len(texts["input_ids"] if isinstance(texts, dict) else texts) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return method(self, texts, *rest)

    return within
