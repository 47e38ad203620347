"""Where students come from, and what of them learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM, DistilBertConfig

from core.errors import StudentUnusable
from core.students import StudentSpec
from tests.worker.training.conftest import TINY, Lab, Notebook, classifier
from worker.training.models import Loaded, from_config, load, parameter_count
from worker.training.students import Student, build, mark_trainable

CLASSES = ["neg", "pos"]


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Loaded:
    return load(teacher_folder, "teacher", 0)


def made(written: dict[str, Any], teacher: Loaded, folder: Path | None = None, seed: int = 0) -> Student:
    spec = StudentSpec.model_validate(written)
    student = build(spec, folder, teacher, CLASSES, seed)
    mark_trainable(student, spec)
    return student


def test_bert_to_distilbert_with_its_head_has_the_published_sizes() -> None:
    """bert-base-uncased teaches distilbert-base-uncased: sizes from the architectures' own defaults."""
    with torch.device("meta"):
        teacher = from_config(BertConfig(num_labels=2))
        student = from_config(DistilBertConfig(num_labels=2))
    spec = StudentSpec.model_validate({"model": "distilbert-base-uncased", "trainable": "head"})
    fresh = frozenset(name for name, _ in student.named_parameters() if "classifier" in name)
    mark_trainable(Student(student, None, fresh), spec)  # type: ignore[arg-type]
    assert parameter_count(teacher) == 109_483_778
    assert parameter_count(student) == 66_955_010
    assert parameter_count(student, trainable_only=True) == 592_130


def test_copied_layers_are_the_teachers(teacher: Loaded) -> None:
    student = made({"from_teacher": {"layers": [1, 3]}}, teacher)
    theirs, own = teacher.model.state_dict(), student.model.state_dict()
    assert student.model.config.num_hidden_layers == 2
    for place, layer in enumerate((1, 3)):
        name = "attention.self.query.weight"
        assert own[f"bert.encoder.layer.{place}.{name}"].equal(theirs[f"bert.encoder.layer.{layer}.{name}"])
    for name in ("bert.embeddings.word_embeddings.weight", "bert.pooler.dense.bias", "classifier.weight"):
        assert own[name].equal(theirs[name])


def test_all_layers_make_the_teacher_itself(teacher: Loaded) -> None:
    student = made({"from_teacher": {"layers": [0, 1, 2, 3]}}, teacher)
    tokens = student.tokenizer("a good film", return_tensors="pt")
    torch.testing.assert_close(student.model.eval()(**tokens).logits, teacher.model(**tokens).logits)


SMALL = {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}
PLAIN = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize(
    "written",
    [
        {"model_type": "distilbert", **SMALL},
        {"model_type": "roberta", **PLAIN, "max_position_embeddings": 66},
        {"model_type": "electra", **PLAIN, "embedding_size": 16, "max_position_embeddings": 64},
        {"model_type": "modernbert", **PLAIN, "max_position_embeddings": 64},
    ],
)
def test_layers_are_found_in_other_architectures(teacher: Loaded, written: dict[str, Any]) -> None:
    other = made({"config": written}, teacher)
    copied = made({"from_teacher": {"layers": [0, 2]}}, Loaded(other.model, other.tokenizer, frozenset()))
    assert copied.model.config.num_hidden_layers == 2
    assert parameter_count(copied.model) < parameter_count(other.model)


def test_a_config_makes_the_same_random_student_for_the_same_seed(teacher: Loaded) -> None:
    written = {"config": {"model_type": "bert", **PLAIN, "max_position_embeddings": 64}}
    one, same, other = (made(written, teacher, seed=seed).model.state_dict() for seed in (1, 1, 2))
    name = "bert.embeddings.word_embeddings.weight"
    assert one[name].equal(same[name])
    assert not one[name].equal(other[name])
    assert one[name].shape == (TINY["vocab_size"], 32)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"from_teacher": {"layers": [0, 4]}}, "layers 0 to 3; there is no layer 4"),
        (
            {
                "config": {
                    "model_type": "bert",
                    "hidden_size": 30_000,
                    "num_hidden_layers": 150,
                    "num_attention_heads": 100,
                }
            },
            "parameters",
        ),
        ({"config": {"model_type": "bert", "num_hidden_layers": 10**12}}, "num_hidden_layers is 1000000000000"),
        ({"config": {"model_type": "bert", "hidden_size": 33, "num_attention_heads": 2}}, "makes no bert classifier"),
        ({"config": {"model_type": "nonesuch"}}, "makes no nonesuch classifier"),
        ({"config": {"model_type": "bert", **PLAIN, "vocab_size": 3}}, "vocab_size is 3"),
        ({"from_teacher": {"layers": [0]}, "trainable": ["no.such.*"]}, "no parameter matches"),
    ],
)
def test_what_makes_no_student_is_refused_in_words(teacher: Loaded, written: dict[str, Any], words: str) -> None:
    with pytest.raises(StudentUnusable, match=words):
        made(written, teacher)


def test_patterns_choose_what_learns(lab: Lab) -> None:
    notebook = Notebook()
    student = {"from_teacher": {"layers": [0, 1]}, "trainable": ["bert.encoder.layer.1.*", "classifier.*"]}
    outcome = lab.run(notebook, student=student, evaluation={"baseline": False})
    theirs, own = load_file(lab.teacher / "model.safetensors"), load_file(outcome.student / "model.safetensors")
    moved = {name for name, tensor in own.items() if not tensor.equal(theirs[name])}
    assert moved
    assert all(name.startswith(("bert.encoder.layer.1.", "classifier.")) for name in moved)
    assert notebook.sizes_seen is not None
    assert notebook.sizes_seen.trainable_parameters < notebook.sizes_seen.student_parameters


def test_a_folder_with_the_classes_in_another_order_is_reordered(
    teacher: Loaded, tmp_path: Path, tokenizer: Any
) -> None:
    folder = classifier(tmp_path / "student", ["pos", "neg"], tokenizer)
    student = made({"model": "student"}, teacher, folder)
    before = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = tokenizer("a good film", return_tensors="pt")
    torch.testing.assert_close(student.model.eval()(**tokens).logits, before(**tokens).logits.flip(1))
    assert student.model.config.id2label == {0: "neg", 1: "pos"}


def test_a_folder_with_other_classes_keeps_its_body_and_gets_a_head(
    teacher: Loaded, tmp_path: Path, tokenizer: Any
) -> None:
    folder = classifier(tmp_path / "student", ["joy", "anger", "fear"], tokenizer)
    student = made({"model": "student", "trainable": "head"}, teacher, folder)
    before = load_file(folder / "model.safetensors")
    own = student.model.state_dict()
    assert own["bert.pooler.dense.weight"].equal(before["bert.pooler.dense.weight"])
    assert own["classifier.weight"].shape == (2, 32)
    learning = [name for name, parameter in student.model.named_parameters() if parameter.requires_grad]
    assert learning == ["classifier.weight", "classifier.bias"]


def test_a_masked_language_model_may_be_a_student_though_it_has_no_pooler(
    teacher: Loaded, tmp_path: Path, tokenizer: Any
) -> None:
    BertForMaskedLM(BertConfig(**TINY)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    student = made({"model": "student", "trainable": "head"}, teacher, tmp_path)
    learning = {name for name, parameter in student.model.named_parameters() if parameter.requires_grad}
    assert learning == {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def test_adapters_are_merged_and_only_where_they_sit_anything_moves(lab: Lab) -> None:
    notebook = Notebook()
    student = {"from_teacher": {"layers": [0, 1]}, "lora": {"r": 2, "target_modules": ["query"]}}
    outcome = lab.run(notebook, student=student, training={"learning_rate": 1e-2}, evaluation={"baseline": False})
    theirs, own = load_file(lab.teacher / "model.safetensors"), load_file(outcome.student / "model.safetensors")
    assert set(own) <= set(theirs)
    moved = {name for name, tensor in own.items() if not tensor.equal(theirs[name])}
    assert moved == {
        *(f"bert.encoder.layer.{layer}.attention.self.query.weight" for layer in (0, 1)),
        "classifier.weight",
        "classifier.bias",
    }
    assert notebook.sizes_seen is not None
    assert notebook.sizes_seen.trainable_parameters == 2 * 2 * (32 + 32) + 2 * 32 + 2


def test_adapters_resume_to_the_same_bytes(lab: Lab) -> None:
    from tests.worker.training.test_phase import at_step, digest
    from worker.training.observer import Stopped

    student = {"from_teacher": {"layers": [0, 1]}, "lora": {"r": 2, "dropout": 0.1}}
    job: dict[str, Any] = {
        "student": student,
        "evaluation": {"baseline": False},
        "training": {"checkpoint_every_steps": 2},
    }
    whole = lab.run(folder="whole", **job)
    with pytest.raises(Stopped):
        lab.run(Notebook(at_step("student", 3)), **job)
    resumed = lab.run(**job)
    assert digest(resumed.student / "model.safetensors") == digest(whole.student / "model.safetensors")


def test_adapters_that_fit_nowhere_are_refused(lab: Lab) -> None:
    with pytest.raises(StudentUnusable, match=r"student\.lora does not fit"):
        lab.run(student={"from_teacher": {"layers": [0]}, "lora": {"target_modules": ["nonesuch"]}})
