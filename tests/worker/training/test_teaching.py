"""Teachers and labels: who fits, who is refused, and whose order counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2LMHeadModel

from core.errors import DatasetUnusable, LabelsDiffer, ModelUnreadable, TeacherHasNoHead
from tests.worker.training.conftest import WORDS, Lab, Notebook, classifier, sentences, wordpiece, write_parquet

QUICK: dict[str, Any] = {"evaluation": {"baseline": False}, "training": {"max_steps": 2}}


def test_a_bare_encoder_has_nothing_to_teach(lab: Lab, encoder_folder: Path) -> None:
    with pytest.raises(TeacherHasNoHead, match="'teacher' has no classification head"):
        lab.run(teachers=(encoder_folder,))


def test_a_bare_encoder_may_be_fine_tuned_first(lab: Lab, encoder_folder: Path) -> None:
    notebook = Notebook()
    teacher = {"model": "teacher", "finetune": {"epochs": 20, "learning_rate": 2e-3}}
    outcome = lab.run(notebook, teachers=(encoder_folder,), teacher=teacher, **QUICK)
    assert outcome.report.labels == ["neg", "pos"]
    assert outcome.report.teacher.accuracy is not None
    assert outcome.report.teacher.accuracy > 0.8
    assert notebook.series["teacher-0/ce_loss"][-1][1] < notebook.series["teacher-0/ce_loss"][0][1]


def test_decoders_that_know_no_padding_teach_and_learn(lab: Lab, tmp_path: Path, tokenizer: Any) -> None:
    """They classify by the last token that is no padding, and most come without one."""
    for name, layers in (("teacher", 2), ("student", 1)):
        torch.manual_seed(1)
        sizes = {"n_embd": 32, "n_layer": layers, "n_head": 2, "n_positions": 64}
        GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, pad_token_id=None)).save_pretrained(
            tmp_path / name
        )
        tokenizer.save_pretrained(tmp_path / name)
    outcome = lab.run(
        teachers=(tmp_path / "teacher",),
        student_folder=tmp_path / "student",
        teacher={"model": "teacher", "finetune": {"epochs": 1}},
        student={"model": "student"},
    )
    assert json.loads((outcome.student / "config.json").read_text())["pad_token_id"] == tokenizer.pad_token_id


def test_copied_layers_are_those_of_the_fine_tuned_teacher(lab: Lab, encoder_folder: Path) -> None:
    notebook = Notebook()
    outcome = lab.run(
        notebook,
        teachers=(encoder_folder,),
        teacher={"model": "teacher", "finetune": {"epochs": 20, "learning_rate": 2e-3}},
        student={"from_teacher": {"layers": [0, 1, 2, 3]}},
        **QUICK,
    )
    before, teacher = outcome.report.student_before, outcome.report.teacher
    assert before.accuracy == teacher.accuracy
    assert before.agreement == 1.0


def test_a_teacher_without_the_labels_is_refused_before_anything_is_trained(
    lab: Lab, tmp_path: Path, tokenizer: Any
) -> None:
    folder = classifier(tmp_path / "moods", ["joy", "anger", "fear"], tokenizer)
    notebook = Notebook()
    with pytest.raises(LabelsDiffer) as refused:
        lab.run(notebook, teachers=(folder,))
    assert (
        str(refused.value)
        == "teacher 'teacher' does not know the label(s) 'neg', 'pos'; it knows 'joy', 'anger', 'fear'"
    )
    assert notebook.stages == ["loading"]


def test_such_a_teacher_may_learn_them(lab: Lab, tmp_path: Path, tokenizer: Any) -> None:
    folder = classifier(tmp_path / "moods", ["joy", "anger", "fear"], tokenizer)
    outcome = lab.run(teachers=(folder,), teacher={"model": "teacher", "finetune": {"epochs": 1}}, **QUICK)
    assert outcome.report.labels == ["neg", "pos"]


def test_the_heads_order_and_spelling_count_and_further_classes_stay(lab: Lab, tmp_path: Path, tokenizer: Any) -> None:
    folder = classifier(tmp_path / "three", ["POS", "NEG", "NEUTRAL"], tokenizer)
    outcome = lab.run(teachers=(folder,), **QUICK)
    assert outcome.report.labels == ["POS", "NEG", "NEUTRAL"]
    assert [result.support > 0 for result in outcome.report.classes] == [True, True, False]
    student = AutoModelForSequenceClassification.from_pretrained(outcome.student)
    assert student.config.id2label == {0: "POS", 1: "NEG", 2: "NEUTRAL"}


def test_numbers_are_the_heads_indices(lab: Lab, tmp_path: Path) -> None:
    columns = sentences(60, 60)
    columns["label"] = [int(label == "pos") for label in columns["label"]]
    outcome = lab.run(data=write_parquet(tmp_path / "numbers.parquet", columns), **QUICK)
    assert outcome.report.labels == ["neg", "pos"]


def test_a_data_set_without_labels_learns_from_the_teacher_alone(lab: Lab, tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "bare.parquet", {"text": sentences(60, 60)["text"]})
    notebook = Notebook()
    report = lab.run(notebook, data=data, training={"max_steps": 3}).report
    assert (report.baseline, report.gain, report.student_after.accuracy, report.examples.labelled) == (
        None,
        None,
        None,
        0,
    )
    assert notebook.said("no training example has a label")
    assert "ce_loss" not in notebook.series
    assert len(notebook.series["kd_loss"]) == 3


def test_a_teacher_cannot_be_fine_tuned_without_labels(lab: Lab, tmp_path: Path) -> None:
    data = write_parquet(tmp_path / "bare.parquet", {"text": sentences(60, 60)["text"]})
    with pytest.raises(DatasetUnusable, match="cannot be fine-tuned: no training example has a label"):
        lab.run(data=data, teacher={"model": "teacher", "finetune": {}})


def test_an_ensemble_whose_members_differ_in_order_and_tokenizer_is_one_teacher(
    lab: Lab, tmp_path: Path, tokenizer: Any
) -> None:
    """Member two is member one with classes and words in another order: together they are member one."""
    from safetensors.torch import load_file, save_file

    words = [*WORDS[:5], *reversed(WORDS[5:])]
    folder = classifier(tmp_path / "mirrored", ["pos", "neg"], wordpiece(words))
    weights = load_file(lab.teacher / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name].flip(0).contiguous()
    name = "bert.embeddings.word_embeddings.weight"
    weights[name] = torch.stack([weights[name][WORDS.index(word)] for word in words])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    members = [{"model": "one", "weight": 3.0}, {"model": "two"}]
    report = lab.run(teachers=(lab.teacher, folder), teacher=members, folder="two", **QUICK).report
    alone = lab.run(folder="one", **QUICK).report
    assert set(report.teachers) == {"one", "two"}
    assert report.teachers["two"].agreement == 1.0
    assert report.teachers["two"].kl_to_teacher == pytest.approx(0.0, abs=1e-5)
    assert report.teacher.accuracy == alone.teacher.accuracy
    assert report.teacher.parameters == 2 * alone.teacher.parameters
    assert report.student_after.kl_to_teacher == pytest.approx(alone.student_after.kl_to_teacher, abs=1e-4)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "its tokenizer"),
        (lambda folder: [path.unlink() for path in folder.glob("*token*")], "has no tokenizer"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_said_in_words(
    lab: Lab, tmp_path: Path, tokenizer: Any, damage: Any, words: str
) -> None:
    folder = classifier(tmp_path / "damaged", ["neg", "pos"], tokenizer)
    damage(folder)
    with pytest.raises(ModelUnreadable, match=words) as refused:
        lab.run(teachers=(folder,))
    assert refused.value.args[0] == "teacher"


def test_a_model_that_lacks_a_layer_is_unreadable(lab: Lab, tmp_path: Path, tokenizer: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = classifier(tmp_path / "hollow", ["neg", "pos"], tokenizer)
    weights = {
        name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if "layer.2" not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnreadable, match="its weights lack 16 tensors"):
        lab.run(teachers=(folder,))


def test_the_teacher_reads_every_text_once_for_all_epochs(lab: Lab) -> None:
    lab.run(training={"max_steps": 30}, evaluation={"baseline": False})
    kept = np.load(lab.folder / "job" / "cache" / "teacher-0-logits.npy", mmap_mode="r")
    assert kept.shape == (200, 2)
    assert kept.dtype == np.float32
