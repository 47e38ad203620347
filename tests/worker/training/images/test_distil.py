"""Image classifiers are distilled as classifiers of texts are: gain, labels alone, seeds, stop and resume."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from core.errors import ModelUnreadable
from core.report import ClassificationReport
from core.wire import Stage
from tests.worker.training.conftest import Notebook, in_one_and_two, write_parquet
from tests.worker.training.images.conftest import DIGITS, MLP, TEST, TRAIN, digits, run_job
from tests.worker.training.test_phase import at_step
from worker.training.distil import Outcome
from worker.training.observer import Stopped

JITTERED: dict[str, Any] = {
    "student": {"config": {**MLP, "dropout": 0.2, "input_dropout": 0.1}},
    "training": {"max_steps": 12, "augment": {"jitter_pixels": 1}, "checkpoint_every_steps": 4},
    "T": 4.0,
}


def report_of(outcome: Outcome) -> ClassificationReport:
    assert isinstance(outcome.report, ClassificationReport)
    return outcome.report


def digest(outcome: Outcome) -> str:
    return hashlib.sha256((outcome.student / "model.safetensors").read_bytes()).hexdigest()


def test_distilling_beats_labels_alone_where_labels_are_few(tmp_path: Path, few_file: Path, taught: Outcome) -> None:
    student, training = {"config": {**MLP, "hidden": [48, 48]}}, {"max_steps": 100, "learning_rate": 1e-2}
    job: dict[str, Any] = {"student": student, "training": {**training, "batch_size": 128}, "alpha": 0.9, "T": 4.0}
    job["evaluation"] = {"baseline": True}
    report = report_of(run_job(tmp_path, few_file, taught.student, **job))
    assert report.task == "image-classification"
    assert report.gain is not None
    assert report.gain.accuracy_interval.low > 0
    assert report.teacher is not None
    assert report.baseline is not None
    errors = [one.errors for one in (report.teacher, report.student_after, report.baseline)]
    teacher, distilled, alone = (count for count in errors if count is not None)
    assert teacher < distilled < alone
    assert f"({distilled:,} wrong; teacher {teacher:,}, labels alone {alone:,})" in report.verdict
    assert report.gain.fewer_errors == pytest.approx(1 - distilled / alone)


def test_a_job_on_labels_alone_has_no_teacher_and_says_so(taught: Outcome) -> None:
    report = report_of(taught)
    after = report.student_after
    assert (report.teacher, report.baseline, report.gain, report.compression) == (None, None, None, None)
    assert (after.agreement, after.kl_to_teacher) == (None, None)
    assert after.accuracy is not None
    assert after.errors == round((1 - after.accuracy) * TEST)
    assert report.labels == DIGITS
    assert "without a teacher" in report.verdict
    page, card = ((taught.student / name).read_text() for name in ("report.html", "README.md"))
    assert "no teacher" in page
    assert "trained on labels alone (`CE(label, student)`)" in card
    assert json.loads((taught.student / "spec.json").read_text())["teacher"] is None


def test_the_number_of_wrong_answers_is_seen(taught: Outcome) -> None:
    errors = report_of(taught).student_after.errors
    assert f"<b>{errors}</b><span>wrong" in (taught.student / "report.html").read_text()
    rows = (taught.student / "README.md").read_text().splitlines()
    assert next(row for row in rows if row.startswith("| Wrong |")).endswith(f" {errors} |")


def test_a_transformers_student_of_a_transformers_teacher_loads_anywhere(
    tmp_path: Path, digits_file: Path, vit_folder: Path, resnet_folder: Path
) -> None:
    notebook = Notebook()
    outcome = run_job(
        tmp_path,
        digits_file,
        vit_folder,
        observer=notebook,
        student_folder=resnet_folder,
        student="student",
        alpha=1.0,
        training={"max_steps": 4},
    )
    classify = pipeline("image-classification", model=str(outcome.student))
    (tmp_path / "digit.pgm").write_bytes(digits(1)["image"][0])
    assert {one["label"] for one in classify(str(tmp_path / "digit.pgm"), top_k=10)} == set(DIGITS)
    assert notebook.said("Images are resized to 32 x 32 pixels for the student.")
    assert notebook.said("Images are resized to 16 x 16 pixels for the teacher.")


def test_layers_of_a_teacher_make_a_student_and_adapters_are_merged(
    tmp_path: Path, digits_file: Path, vit_folder: Path
) -> None:
    student = {"from_teacher": {"layers": [0, 2]}, "lora": {"r": 2, "target_modules": ["q_proj", "v_proj"]}}
    report = report_of(run_job(tmp_path, digits_file, vit_folder, student=student, training={"max_steps": 3}))
    assert report.student.layers == 2
    assert report.student_after.kl_to_teacher != report.student_before.kl_to_teacher


def test_a_config_makes_a_student_that_reads_as_its_size_says(
    tmp_path: Path, digits_file: Path, vit_folder: Path
) -> None:
    config = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"intermediate_size": 16, "image_size": 8, "patch_size": 4}
    outcome = run_job(tmp_path, digits_file, vit_folder, student={"config": config}, training={"max_steps": 2})
    assert json.loads((outcome.student / "preprocessor_config.json").read_text())["size"] == {"height": 8, "width": 8}


def test_a_teacher_with_other_classes_is_fine_tuned_first(
    tmp_path: Path, digits_file: Path, resnet_folder: Path
) -> None:
    config = json.loads((resnet_folder / "config.json").read_text())
    folder = tmp_path / "other"
    folder.mkdir()
    for path in resnet_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    names = {str(place): f"digit {place}" for place in range(10)}
    (folder / "config.json").write_text(json.dumps({**config, "id2label": names, "label2id": {}}))
    finetuned = {"model": "teacher", "finetune": {"epochs": 1, "learning_rate": 1e-2}}
    outcome = run_job(tmp_path / "job", digits_file, folder, teacher=finetuned, training={"max_steps": 2})
    assert {path.name for path in (outcome.student / "teacher").iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }


@pytest.fixture(scope="module")
def jittered(tmp_path_factory: pytest.TempPathFactory, digits_file: Path, taught: Outcome) -> str:
    """The student of a run with jitter, dropout and a teacher that looks along, which nobody disturbed."""
    return digest(run_job(tmp_path_factory.mktemp("jittered"), digits_file, taught.student, **JITTERED))


def test_the_same_seed_gives_the_same_student_and_another_another(
    tmp_path: Path, digits_file: Path, taught: Outcome, jittered: str
) -> None:
    assert digest(run_job(tmp_path / "same", digits_file, taught.student, **JITTERED)) == jittered
    other = {**JITTERED, "training": {**JITTERED["training"], "seed": 7}}
    assert digest(run_job(tmp_path / "other", digits_file, taught.student, **other)) != jittered


@pytest.mark.parametrize("step", [3, 7])
def test_stopped_and_resumed_it_is_the_same_student(
    tmp_path: Path, digits_file: Path, taught: Outcome, jittered: str, step: int
) -> None:
    with pytest.raises(Stopped):
        run_job(tmp_path, digits_file, taught.student, observer=Notebook(at_step("student", step)), **JITTERED)
    second = Notebook()
    assert digest(run_job(tmp_path, digits_file, taught.student, observer=second, **JITTERED)) == jittered
    assert second.said("student: going on from step")


@pytest.mark.parametrize("stage", ["loading", "teaching", "training", "evaluating", "exporting"])
def test_a_job_stops_in_every_stage(tmp_path: Path, digits_file: Path, taught: Outcome, stage: Stage) -> None:
    notebook = Notebook(lambda seen: "cancel" if seen.stages and seen.stages[-1] == stage else None)
    with pytest.raises(Stopped):
        run_job(tmp_path, digits_file, taught.student, observer=notebook, training={"max_steps": 2})
    assert notebook.stages[-1] == stage


def test_several_teachers_are_heard_together_also_where_they_look_along(
    tmp_path: Path, digits_file: Path, taught: Outcome, vit_folder: Path
) -> None:
    notebook = Notebook()
    teachers: list[dict[str, Any]] = [{"model": "mlp", "weight": 3.0}, {"model": "vit"}]
    jitter = {"max_steps": 3, "augment": {"jitter_pixels": 1}}
    outcome = run_job(
        tmp_path, digits_file, taught.student, vit_folder, observer=notebook, teacher=teachers, training=jitter
    )
    assert set(report_of(outcome).teachers) == {"mlp", "vit"}
    assert notebook.said("the teacher looks at each changed image anew")


def test_with_alpha_0_nobody_looks_along_and_no_distance_to_the_teacher_is_logged(
    tmp_path: Path, digits_file: Path, taught: Outcome
) -> None:
    notebook = Notebook()
    jitter = {"max_steps": 2, "augment": {"jitter_pixels": 1}}
    run_job(tmp_path, digits_file, taught.student, observer=notebook, alpha=0.0, training=jitter)
    assert {"loss", "ce_loss"} <= set(notebook.series)
    assert "kd_loss" not in notebook.series
    assert not notebook.said("looks at each changed image")


def test_a_model_that_does_not_read_what_its_processor_makes_is_said(
    tmp_path: Path, digits_file: Path, vit_folder: Path
) -> None:
    for path in vit_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    processor = json.loads((vit_folder / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**processor, "size": {"height": 24, "width": 24}}))
    with pytest.raises(ModelUnreadable, match="does not read what its image processor makes"):
        run_job(tmp_path / "job", digits_file, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelUnreadable, match="no image processor"):
        run_job(tmp_path / "job", digits_file, tmp_path)


def test_examples_without_an_image_are_left_out_and_counted(tmp_path: Path, taught: Outcome) -> None:
    columns = digits(TRAIN)
    columns["image"][-3:] = [None] * 3
    notebook = Notebook()
    data = write_parquet(tmp_path / "gaps.parquet", columns)
    outcome = run_job(tmp_path / "job", data, taught.student, observer=notebook, training={"max_steps": 1})
    assert notebook.said("3 examples have no image and are left out")
    assert report_of(outcome).examples.train == TRAIN - 3


def test_held_out_images_that_were_learned_from_are_counted(tmp_path: Path, taught: Outcome) -> None:
    """On labels alone, what has none is not learned from."""
    columns = digits(labelled=TRAIN - 4)
    for place in range(4):
        columns["image"][TEST + TRAIN - 4 + place] = columns["image"][place]
    columns["image"][TEST] = columns["image"][5]
    data = write_parquet(tmp_path / "twice.parquet", columns)
    taught_too, alone = (
        report_of(run_job(tmp_path / f"{len(teachers)}", data, *teachers, training={"max_steps": 1})).examples.in_both
        for teachers in ((taught.student,), ())
    )
    assert (taught_too, alone) == (5, 1)


@pytest.mark.usefixtures("crew")
def test_two_processes_train_as_one_does_with_a_teacher_or_on_labels_alone(
    tmp_path: Path, digits_file: Path, taught: Outcome
) -> None:
    for teachers in ((taught.student,), ()):

        def run(observer: Notebook, folder: str, processes: int, teachers: tuple[Path, ...] = teachers) -> Outcome:
            wanted = {"resources": {"processes": processes}, "training": {"precision": "fp32"}}
            return run_job(tmp_path / f"{folder}-{len(teachers)}", digits_file, *teachers, observer=observer, **wanted)

        in_one_and_two(run).check()
