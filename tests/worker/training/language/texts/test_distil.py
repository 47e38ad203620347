"""A whole job by texts: teachers write, filters choose, a student learns; its report, its files, its ways to stop."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import ChatTemplateUnusable, DatasetUnusable, EngineUnavailable, NothingKept
from core.report import REPORT
from core.wire import Stage
from tests.worker.training.conftest import Notebook, in_one_and_two, write_parquet
from tests.worker.training.generation.vllm.conftest import installed
from tests.worker.training.language.conftest import WritingLab, bpe, gpt2, saved
from tests.worker.training.language.texts.conftest import GENERATION, method, questions
from worker.training.exchange import Outcome
from worker.training.generation.compiled import choosing
from worker.training.generation.compiled.runtime import version_installed
from worker.training.generation.samples import Ask, Sample
from worker.training.generation.writer import ModelWriter
from worker.training.language.texts import distil
from worker.training.observer import Stopped

STAGES: list[Stage] = ["loading", "teaching", "training", "evaluating", "exporting"]
QUICK: dict[str, Any] = {"training": {"max_steps": 2}, "evaluation": {"baseline": False}}
VERIFIER = {"type": "exact"}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_student_learns_what_its_teacher_writes_and_not_what_the_data_set_says(lab: WritingLab) -> None:
    notebook = Notebook()
    outcome, report = lab.run(
        notebook,
        method=method(filters={"deduplicate": None, "verifier": VERIFIER}),
        training={"max_steps": 30, "learning_rate": 5e-3},
    )
    assert notebook.stages == STAGES
    assert report.baseline is not None
    assert report.gain is not None
    assert report.student_after.loss < report.student_before.loss
    assert report.gain.loss_interval.high < 0, "nearer to the teacher's texts than the data set's completions bring it"
    assert report.student_after.kl_to_teacher is not None
    assert report.baseline.kl_to_teacher is not None
    assert report.student_after.kl_to_teacher < report.baseline.kl_to_teacher
    assert report.student_after.completions_loss is not None
    assert report.baseline.completions_loss is not None
    assert report.baseline.completions_loss < report.student_after.completions_loss, "which is said too"
    assert report.teacher is not None
    assert (report.teacher.pass_rate, report.teacher.kl_to_teacher) == (1.0, 0.0)
    assert report.student_before.pass_rate == report.baseline.pass_rate == 0.0
    assert report.student_after.pass_rate is not None
    assert report.student_after.pass_rate > 0
    assert report.texts is not None
    assert report.texts.verified == report.examples.test == 11
    assert report.texts.samples == report.texts.prompts == 56
    assert report.examples.in_both == 11, "seven questions are asked over and over"
    assert report.texts.kept + sum(report.texts.dropped.values()) == 56
    assert report.samples[0].reference == "nine nine"
    assert REPORT.validate_json((outcome.student / "report.json").read_text()) == report
    wanted = {"writing/tokens_per_second", "loss", "validation/kl", "baseline/loss"}
    assert wanted <= set(notebook.series)


def test_what_was_written_is_handed_over_and_exported(lab: WritingLab) -> None:
    notebook = Notebook()
    outcome, report = lab.run(notebook, method=method(), **QUICK)
    ((texts, kept),) = notebook.texts_seen
    lines, rows = lines_of(outcome.student), pq.read_table(outcome.student / "kept.parquet").to_pylist()
    assert (outcome.student / "texts.jsonl").read_bytes() == texts.read_bytes()
    assert (outcome.student / "kept.parquet").read_bytes() == kept.read_bytes()
    assert report.texts is not None
    assert len(lines) == report.texts.samples
    assert len(rows) == report.texts.kept == sum(line["verdict"] == "kept" for line in lines)
    parts = Counter(row["split"] for row in rows)
    assert (parts["train"], parts["test"]) == (report.examples.train, report.examples.test)
    for row in rows:
        asked, answered = json.loads(row["messages"])
        assert (asked["content"], answered["content"]) == (row["prompt"], row["completion"])
    manifest = json.loads((outcome.student / "MANIFEST.json").read_text())
    assert {"texts.jsonl", "kept.parquet"} <= {file["path"] for file in manifest["files"]}


@pytest.mark.skipif(version_installed() is None, reason="the extra openvino is not installed")
def test_openvino_writes_what_transformers_writes_and_the_report_says_so(lab: WritingLab) -> None:
    exact = {**QUICK, "training": {"max_steps": 2, "precision": "fp32"}}
    notebook, texts = Notebook(), []
    for engine, name in (("openvino", f"openvino {version_installed()}"), ("auto", "transformers")):
        written = method(generation={**GENERATION, "engine": engine})
        outcome, report = lab.run(notebook, method=written, folder=engine, **exact)
        assert report.texts is not None
        assert report.texts.engines == {"teacher": name}
        texts.append(lines_of(outcome.student))
    assert texts[0] == texts[1]
    assert notebook.said(f"writing: with openvino {version_installed()}.")


def test_a_process_beside_the_job_may_write(lab: WritingLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts, where the likeliest are written, and none of its own files is left."""
    likeliest = {**GENERATION, "temperature": 0.0}
    monkeypatch.setenv("PYTHONPATH", str(installed(tmp_path / "packages")))
    monkeypatch.setattr(distil, "check_engine", lambda *_: None)  # there is no GPU
    said = {}
    for engine in ("transformers", "vllm"):
        notebook = Notebook()
        written = method(generation={**likeliest, "engine": engine})
        outcome, report = lab.run(notebook, method=written, folder=engine, **QUICK)
        assert report.texts is not None
        said[engine] = [line["text"] for line in lines_of(outcome.student)]
    assert report.texts.engines == {"teacher": "vllm 0.0"}
    assert said["vllm"] == said["transformers"]
    assert not (lab.folder / "vllm" / "engines" / "vllm").exists()


def test_an_engine_that_is_not_there_is_not_replaced(lab: WritingLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "version_installed", lambda: None)
    with pytest.raises(EngineUnavailable, match="it is not installed on the worker"):
        lab.run(method=method(generation={**GENERATION, "engine": "openvino"}), **QUICK)
    with pytest.raises(EngineUnavailable, match="it writes on a GPU, and this worker computes on cpu"):
        lab.run(method=method(generation={**GENERATION, "engine": "vllm"}), **QUICK)


def test_the_kept_texts_train_the_next_student_from_logits(lab: WritingLab) -> None:
    outcome, report = lab.run(method=method(), **QUICK)
    kept = {"columns": {"split": "split"}}
    _, second = lab.run(data=outcome.student / "kept.parquet", folder="second", dataset=kept, training={"max_steps": 4})
    assert second.texts is None
    assert second.examples.train == report.examples.train
    assert second.student_after.kl_to_teacher is not None
    assert second.student_before.kl_to_teacher is not None
    assert second.student_after.kl_to_teacher < second.student_before.kl_to_teacher


def test_a_student_of_another_family_reads_the_texts_with_its_own_tokens(lab: WritingLab, tmp_path: Path) -> None:
    own = bpe(["count from one two three"], template=None, specials=("<|more|>",))
    folder = saved(tmp_path / "gpt2", gpt2(), own)
    notebook = Notebook()
    outcome, report = lab.run(
        notebook, student="student", student_folder=folder, method=method(), training={"max_steps": 6}
    )
    assert report.student_after.kl_to_teacher is None
    assert report.gain is not None
    assert report.gain.kl_interval is None
    assert report.student_after.loss < report.student_before.loss
    assert report.texts is not None
    assert "logits cannot be compared" in (report.texts.incomparable or "")
    assert report.speedup is None
    assert notebook.said("KL to the teacher and agreement are not measured")
    assert report.samples[0].prompt.startswith("Count from"), "without a template a prompt is read as it is"
    assert AutoModelForCausalLM.from_pretrained(outcome.student).config.model_type == "gpt2"
    assert len(AutoTokenizer.from_pretrained(outcome.student)) == len(own)


def test_without_completions_the_report_says_why_and_compares_with_the_start(lab: WritingLab, tmp_path: Path) -> None:
    asked = [[{"role": "system", "content": "Count."}, {"role": "user", "content": one}] for one in questions(40)]
    data = write_parquet(tmp_path / "chats.parquet", {"messages": [json.dumps(turns) for turns in asked]})
    notebook = Notebook()
    _, report = lab.run(notebook, data=data, method=method(), training={"max_steps": 4, "max_length": 64})
    assert (report.baseline, report.gain) == (None, None)
    assert report.texts is not None
    assert report.texts.no_baseline == "the data set has no completions of its own to train on"
    assert notebook.said(report.texts.no_baseline)
    assert f"went from {report.student_before.loss:.3f} to {report.student_after.loss:.3f}" in report.verdict
    assert report.student_after.completions_loss is None
    assert report.samples[0].reference is None


def test_several_teachers_write_in_turn_by_weight_or_by_route(lab: WritingLab) -> None:
    teachers = [{"model": "first", "weight": 3.0}, "second"]
    folders = (lab.teacher, lab.teacher)
    outcome, report = lab.run(teacher=teachers, teachers=folders, method=method(), **QUICK)
    assert Counter(line["teacher"] for line in lines_of(outcome.student)) == {"first": 42, "second": 14}
    assert report.texts is not None
    assert sum(report.texts.kept_of.values()) == report.texts.kept
    assert set(report.teachers) == {"first", "second"}
    routed, _ = lab.run(teacher=teachers, teachers=folders, folder="routed", method=method(route="who"), **QUICK)
    assert all(
        line["teacher"] == ("second" if line["prompt_index"] % 3 == 0 else "first") for line in lines_of(routed.student)
    )


def test_a_route_to_nobody_is_refused_in_words(lab: WritingLab) -> None:
    with pytest.raises(DatasetUnusable, match=r"example 1 names teacher 'second' .* the job has 'first', 'third'"):
        lab.run(teacher=["first", "third"], teachers=(lab.teacher,) * 2, method=method(route="who"))


def test_nothing_kept_fails_and_what_was_written_stays(lab: WritingLab) -> None:
    notebook = Notebook()
    with pytest.raises(NothingKept, match="without the pattern"):
        lab.run(notebook, method=method(filters={"pattern": "hundred"}))
    ((texts, _),) = notebook.texts_seen
    assert {line["reason"] for line in lines_of(texts.parent)} == {"pattern_not_found"}


def test_a_student_that_cannot_read_chats_is_refused_before_anything_is_written(
    lab: WritingLab, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "gpt2", gpt2(), bpe(["one two"], template=None))
    data = write_parquet(tmp_path / "chats.parquet", {"messages": ['[{"role": "user", "content": "one"}]'] * 20})
    notebook = Notebook()
    with pytest.raises(ChatTemplateUnusable, match="the student"):
        lab.run(notebook, data=data, student="student", student_folder=folder, method=method())
    assert notebook.stages == ["loading"]
    with pytest.raises(DatasetUnusable, match="every prompt alone has 8 tokens or more"):
        lab.run(folder="short", method=method(), training={"max_length": 8})


def test_a_teacher_is_fine_tuned_on_completions_before_it_writes(lab: WritingLab) -> None:
    tuned = {"model": "teacher", "finetune": {"epochs": 12, "learning_rate": 5e-3}}
    outcome, _ = lab.run(teacher=tuned, method=method(), **QUICK)
    assert (outcome.student / "teacher" / "model.safetensors").exists()
    assert "nine nine" in {line["text"] for line in lines_of(outcome.student)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_stops_in_every_stage(lab: WritingLab, stage: Stage) -> None:
    notebook = Notebook(lambda seen: "cancel" if seen.stages and seen.stages[-1] == stage else None)
    with pytest.raises(Stopped):
        lab.run(notebook, method=method(), **QUICK)
    assert notebook.stages[-1] == stage
    assert bool(notebook.texts_seen) == (STAGES.index(stage) > 1), "what was written before stays"


def test_stopped_while_writing_it_goes_on_and_the_student_is_the_same(
    lab: WritingLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    write = ModelWriter.write

    def counted(writer: ModelWriter, asks: list[Ask], each_token: Any) -> list[Sample]:
        samples = write(writer, asks, each_token)
        asked.extend(ask.key for ask in asks)
        return samples

    monkeypatch.setattr(ModelWriter, "write", counted)
    whole, _ = lab.run(method=method(), folder="whole", **QUICK)
    uninterrupted, asked[:] = list(asked), []
    stopping = Notebook(lambda seen: "shutdown" if len(seen.series.get("writing/tokens_per_second", [])) > 1 else None)
    with pytest.raises(Stopped):
        lab.run(stopping, method=method(), **QUICK)
    assert 0 < len(asked) < len(uninterrupted)
    again = Notebook()
    resumed, _ = lab.run(again, method=method(), **QUICK)
    assert again.said("going on from 32 of 56 texts")
    assert asked == uninterrupted, "no sample was written twice"
    for name in ("model.safetensors", "texts.jsonl", "kept.parquet"):
        assert (resumed.student / name).read_bytes() == (whole.student / name).read_bytes()


@pytest.mark.usefixtures("crew")
def test_two_processes_train_as_one_does(lab: WritingLab) -> None:
    def run(observer: Notebook, folder: str, processes: int) -> Outcome:
        outcome, _ = lab.run(observer, folder=folder, method=method(), resources={"processes": processes})
        return outcome

    in_one_and_two(run).check()
