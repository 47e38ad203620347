"""A whole job of a language model, from a spec and files to a student, and its ways to stop."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from core.errors import DatasetUnusable
from core.report import REPORT
from core.wire import Stage
from tests.worker.training.conftest import Notebook, in_one_and_two, write_parquet
from tests.worker.training.language.conftest import WritingLab, bpe, counting, llama, saved
from worker.training.exchange import Outcome
from worker.training.observer import Stopped

STAGES: list[Stage] = ["loading", "teaching", "training", "evaluating", "exporting"]


def test_a_job_goes_through_its_stages_and_reports(lab: WritingLab) -> None:
    notebook = Notebook()
    outcome, report = lab.run(notebook)
    assert notebook.stages == STAGES
    assert report.cost.steps == 4
    assert (report.student.architecture, report.student.layers) == ("LlamaForCausalLM", 2)
    assert report.teacher.kl_to_teacher == 0
    assert report.teacher.agreement == 1
    assert report.student_after.kl_to_teacher < report.student_before.kl_to_teacher
    assert len(report.samples) == 3
    assert report.samples[0].prompt.startswith("Count from")
    assert notebook.sizes_seen is not None
    assert notebook.sizes_seen.student_parameters == report.student_after.parameters
    wanted = {"loss", "kd_loss", "ce_loss", "validation/kl", "validation/agreement", "baseline/loss"}
    assert wanted <= set(notebook.series)
    assert REPORT.validate_json((outcome.student / "report.json").read_text()) == report


def test_the_student_loads_with_plain_transformers_and_writes(lab: WritingLab) -> None:
    outcome, report = lab.run(evaluation={"baseline": False}, training={"max_steps": 2})
    model = AutoModelForCausalLM.from_pretrained(outcome.student)
    tokenizer = AutoTokenizer.from_pretrained(outcome.student)
    ids = tokenizer("Count from one:", return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    assert model.num_parameters() == report.student_after.parameters
    assert tokenizer.chat_template


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_stops_in_every_stage(lab: WritingLab, stage: Stage) -> None:
    notebook = Notebook(lambda seen: "cancel" if seen.stages and seen.stages[-1] == stage else None)
    with pytest.raises(Stopped) as stopped:
        lab.run(notebook, training={"max_steps": 2})
    assert stopped.value.reason == "cancel"
    assert notebook.stages[-1] == stage


def test_jobs_that_differ_in_t_and_alpha_share_what_the_teacher_said(lab: WritingLab, tmp_path: Path) -> None:
    twice = {"max_steps": 12}
    first, second = Notebook(), Notebook()
    lab.run(first, folder="one", cache=tmp_path / "cache", training=twice)
    shared, _ = lab.run(second, folder="two", cache=tmp_path / "cache", training=twice, T=4.0, alpha=0.9)
    alone, _ = lab.run(folder="three", training=twice, T=4.0, alpha=0.9)
    assert (first.said("for an earlier job"), second.said("for an earlier job")) == (False, True)
    one, other = ((outcome.student / "model.safetensors").read_bytes() for outcome in (shared, alone))
    assert one == other


def test_prompts_that_leave_no_room_are_counted_and_where_all_do_the_job_says_so(
    lab: WritingLab, tmp_path: Path
) -> None:
    told = counting(40)
    told["prompt"] = [prompt * 4 if place % 2 else prompt for place, prompt in enumerate(told["prompt"])]
    told["completion"] = [text * 9 if place % 4 == 2 else text for place, text in enumerate(told["completion"])]
    data, notebook = write_parquet(tmp_path / "long.parquet", told), Notebook()
    _, report = lab.run(
        notebook, data=data, training={"max_steps": 1, "max_length": 12}, evaluation={"baseline": False}
    )
    assert report.examples.dropped == 20
    assert 0 < report.examples.truncated <= 10
    assert notebook.said("20 of 40 examples are left out: their prompts alone reach 12 tokens")
    with pytest.raises(DatasetUnusable, match=r"every prompt alone has 4 tokens or more \(training.max_length\)"):
        lab.run(folder="none", training={"max_length": 4})


def test_a_teacher_that_the_job_trained_is_its_work_too(lab: WritingLab) -> None:
    teacher = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-3}}
    outcome, report = lab.run(teacher=teacher, training={"max_steps": 2}, evaluation={"baseline": False})
    kept = AutoModelForCausalLM.from_pretrained(outcome.student / "teacher")
    assert kept.num_parameters() == report.teacher.parameters
    assert AutoTokenizer.from_pretrained(outcome.student / "teacher").chat_template


def test_bf16_may_be_asked_for_and_is_said(lab: WritingLab) -> None:
    _, report = lab.run(training={"max_steps": 2, "precision": "bf16"}, evaluation={"baseline": False})
    assert report.cost.precision == "bf16"


def test_a_teacher_that_others_wait_for_reads_beforehand_what_is_seen_once(lab: WritingLab, tmp_path: Path) -> None:
    once = {"max_steps": 2}
    first, second = Notebook(), Notebook()
    lab.run(first, folder="one", cache=tmp_path / "cache", is_awaited=True, training=once)
    assert first.said("The teacher reads once")
    lab.run(second, folder="two", cache=tmp_path / "cache", training=once, T=4.0)
    assert second.said("for an earlier job"), "what is there is used, whoever asks"


@pytest.mark.parametrize(
    "job",
    [
        {"training": {"max_steps": 12}},
        {"training": {"max_steps": 3, "gradient_accumulation": 2}},
        {"method": {"top_k": 8}, "student": {"from_teacher": {"layers": [0, 2]}, "lora": {"r": 2}}},
        {"method": {"alignment": "uld"}, "student": {"model": "other"}, "training": {"max_steps": 12}},
    ],
    ids=["kept", "read along", "likeliest", "other tokens"],
)
@pytest.mark.usefixtures("crew")
def test_two_processes_train_as_one_does(lab: WritingLab, tmp_path: Path, job: dict[str, Any]) -> None:
    other = saved(
        tmp_path / "other", llama(384, layers=2, tied=False), bpe(["three four five"], specials=("<|more|>",))
    )
    student = other if "model" in job.get("student", {}) else None

    def run(observer: Notebook, folder: str, processes: int) -> Outcome:
        outcome, _ = lab.run(observer, folder=folder, student_folder=student, resources={"processes": processes}, **job)
        return outcome

    in_one_and_two(run).check()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.usefixtures("crew")
def test_layers_that_are_spread_learn_as_in_one_process(
    lab: WritingLab, tmp_path: Path, tokenizer: PreTrainedTokenizerFast, tied: bool
) -> None:
    """Texts of a step that one process would read apart are read in one pass: both must call layers equally often."""
    student = saved(tmp_path / "student", llama(layers=2, tied=tied), tokenizer)

    def run(observer: Notebook, folder: str, processes: int) -> Outcome:
        outcome, _ = lab.run(
            observer,
            folder=folder,
            student_folder=student,
            student={"model": "small"},
            resources={"processes": 2, "sharded": True} if processes == 2 else {},
            training={"max_steps": 6, "max_grad_norm": 0.1},
        )
        return outcome

    in_one_and_two(run).check()
