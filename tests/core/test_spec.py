"""A spec survives the way it takes, says no early and in words, and never guesses."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.spec import JobSpec
from tests.core.rows import SMALLEST, spec_of

CONTRACT_SMALLEST = '{"teacher": "my-teacher", "student": "my-student", "dataset": "ds_1", "T": 2.0, "alpha": 0.5}'
CONTRACT_WHOLE = """
{"name": "support-intents", "task": "text-classification",
 "teacher": {"model": "my-teacher", "revision": null, "weight": 1.0, "finetune": {"epochs": 2, "learning_rate": 5e-5}},
 "student": {"model": null, "from_teacher": {"layers": [0, 3]}, "trainable": "all", "lora": null},
 "dataset": {"id": "ds_1", "subset": null, "split": null, "validation": 0.1, "test": 0.1,
             "columns": {"text": "text", "label": "label"}, "max_examples": null},
 "T": 2.0, "alpha": 0.5,
 "method": {"type": "logits", "divergence": "forward_kl"},
 "training": {"epochs": 3, "max_steps": null, "batch_size": 32, "gradient_accumulation": 1, "learning_rate": 2e-4,
              "scheduler": "linear", "warmup_ratio": 0.06, "weight_decay": 0.01, "max_grad_norm": 1.0,
              "max_length": 256,
              "precision": "auto", "seed": 42, "evaluate_every_steps": null, "checkpoint_every_steps": null,
              "early_stopping": null},
 "evaluation": {"baseline": true},
 "output": {"model": "support-intents-small", "formats": ["safetensors"]},
 "resources": {"queue": "default", "max_minutes": 240, "processes": 1, "priority": 0},
 "notify": [], "labels": {"team": "nlp"}}
"""

MLP: dict[str, Any] = {"architecture": "mlp", "hidden": [800, 800]}

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: ".." not in name)
references = names | st.tuples(names, names).map("/".join)
fractions = st.floats(0, 1)
positive = st.floats(1e-6, 10)
finetunes = st.none() | st.fixed_dictionaries({"epochs": st.integers(1, 9)}, optional={"learning_rate": positive})
teachers = references | st.fixed_dictionaries(
    {"model": references}, optional={"weight": positive, "revision": st.none() | names, "finetune": finetunes}
)
students = references | st.one_of(
    st.fixed_dictionaries({"model": references}, optional={"trainable": st.sampled_from(["all", "head", ["layer.*"]])}),
    st.fixed_dictionaries(
        {"from_teacher": st.fixed_dictionaries({"layers": st.lists(st.integers(0, 30), min_size=1, max_size=5)})},
        optional={"lora": st.none() | st.fixed_dictionaries({"r": st.integers(1, 64)})},
    ),
    st.fixed_dictionaries(
        {"config": st.fixed_dictionaries({"model_type": st.just("bert")}, optional={"hidden_size": st.integers(1, 99)})}
    ),
    st.fixed_dictionaries({"config": st.just(MLP)}),
)
own_texts = st.fixed_dictionaries(
    {"type": st.just("on_policy")},
    optional={
        "divergence": st.sampled_from(["forward_kl", "reverse_kl", "jsd", "tvd"]),
        "student_share": st.floats(0, 0.9),
        "generation": st.fixed_dictionaries({}, optional={"temperature": positive, "stop": st.just(["."])}),
    },
)
methods = st.fixed_dictionaries(
    {},
    optional={
        "divergence": st.sampled_from(["forward_kl", "reverse_kl", "jsd", "tvd", "mse"]),
        "hidden": st.none() | st.fixed_dictionaries({"layers": st.none() | st.just([[5, 1], [11, 3]])}),
    },
)
specs = st.fixed_dictionaries(
    {"teacher": teachers | st.lists(teachers, min_size=1, max_size=8), "student": students, "dataset": references},
    optional={
        "name": st.text(min_size=1, max_size=20),
        "T": positive,
        "alpha": fractions,
        "training": st.fixed_dictionaries({}, optional={"epochs": positive, "seed": st.integers(0, 2**32 - 1)}),
        "labels": st.dictionaries(names, st.text(max_size=20), max_size=3),
    },
)
# With on_policy the teacher has a share.
specs = st.one_of(
    st.builds(lambda spec, method: {**spec, "method": method}, specs, methods),
    st.builds(lambda spec, method: {**spec, "alpha": 0.5, "method": method}, specs, own_texts),
)


@given(specs)
@settings(max_examples=150)
def test_any_valid_spec_comes_back_from_json_as_it_was(written: dict[str, Any]) -> None:
    spec = JobSpec.model_validate(written)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


@given(specs)
@settings(max_examples=50)
def test_every_default_is_said_once_and_then_stays(written: dict[str, Any]) -> None:
    said = JobSpec.model_validate(written).model_dump(mode="json")
    assert JobSpec.model_validate(said).model_dump(mode="json") == said
    assert set(said) == set(JobSpec.model_fields)


def test_the_smallest_job_of_the_contract_is_enough() -> None:
    spec = JobSpec.model_validate_json(CONTRACT_SMALLEST)
    assert (spec.teacher[0].model, spec.student.model, spec.dataset.id) == ("my-teacher", "my-student", "ds_1")
    assert (spec.T, spec.alpha, spec.evaluation.baseline) == (2.0, 0.5, True)


def test_the_whole_job_of_the_contract_is_understood_and_echoed() -> None:
    written = json.loads(CONTRACT_WHOLE)
    said = JobSpec.model_validate_json(CONTRACT_WHOLE).model_dump(mode="json")
    assert said["teacher"] == written["teacher"]
    assert said["training"] == {**written["training"], "train_on_prompt": False, "augment": None}
    assert {name: said["dataset"][name] for name in written["dataset"] if name != "columns"} == {
        name: value for name, value in written["dataset"].items() if name != "columns"
    }


def test_one_teacher_is_written_bare_and_two_as_a_list() -> None:
    assert spec_of(teacher=["a"]).model_dump(mode="json")["teacher"]["model"] == "a"
    assert [teacher["model"] for teacher in spec_of(teacher=["a", "b"]).model_dump(mode="json")["teacher"]] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    "written",
    [
        {"output": {"formats": ["gguf"]}},
        {"resources": {"processes": 2}, "task": "text-generation", "method": {"type": "on_policy"}},
        {"training": {"batch_size": "auto"}, "task": "text-generation", "method": {"type": "on_policy"}},
        {"resources": {"processes": 2}, "task": "image-classification", "training": {"augment": {"jitter_pixels": 1}}},
        {"notify": [{"url": "x"}]},
    ],
    ids=json.dumps,
)
def test_what_is_not_built_is_said_and_not_ignored(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(**written)
    assert [fault["type"] for fault in refused.value.errors()] == ["not_available"]
    assert "is not available yet. " in refused.value.errors()[0]["msg"]


def test_a_batch_by_tokens_is_counted_by_its_mean() -> None:
    training = spec_of(training={"batch_size": "auto", "gradient_accumulation": 2}).training
    assert (training.batch_examples, training.step_examples) == (32, 64)
    assert spec_of(training={"batch_size": "auto"}, resources={"processes": 3}).resources.processes == 3


def test_processes_share_batches_evenly() -> None:
    assert spec_of(resources={"processes": 8}).resources.processes == 8
    with pytest.raises(ValidationError, match="3 processes cannot share batches of 32 evenly"):
        spec_of(resources={"processes": 3})


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"T": "2"}, ("T",)),
        ({"T": True}, ("T",)),
        ({"T": 0}, ("T",)),
        ({"T": -1.0}, ("T",)),
        ({"T": float("nan")}, ("T",)),
        ({"T": float("inf")}, ("T",)),
        ({"alpha": 1.0000001}, ("alpha",)),
        ({"alpha": -0.1}, ("alpha",)),
        ({"alpha": "0.5"}, ("alpha",)),
        ({"training": {"batch_size": 1.5}}, ("training", "batch_size")),
        ({"training": {"batch_size": "32"}}, ("training", "batch_size")),
        ({"training": {"epochs": 1e9}}, ("training", "epochs")),
        ({"training": {"seed": -1}}, ("training", "seed")),
        ({"evaluation": {"baseline": "yes"}}, ("evaluation", "baseline")),
        ({"teacher": {"model": "t", "weight": 0}}, ("teacher", 0, "with_weights", "weight")),
        ({"teacher": []}, ("teacher",)),
        ({"teacher": ["t"] * 9}, ("teacher",)),
        ({"temperature": 2.0}, ("temperature",)),
        ({"training": {"lr": 1e-4}}, ("training", "lr")),
        ({"dataset": {"id": "ds_1", "validation": 0.5, "test": 0.5}}, ("dataset",)),
        ({"dataset": {"id": "ds_1", "test": 1.0}}, ("dataset", "test")),
        ({"student": {}}, ("student",)),
        ({"student": {"model": "s", "from_teacher": {"layers": [0]}}}, ("student",)),
        ({"student": {"config": {"hidden_size": 8}}}, ("student",)),
        ({"method": {"beta": 0.5}}, ("method",)),
        ({"method": {"divergence": "jsd", "beta": 1.0}}, ("method", "logits", "beta")),
        ({"labels": {"a b": "x"}}, ("labels", "a b")),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_at_its_place(written: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(**written)
    assert refused.value.errors()[0]["loc"][: len(place)] == place


@pytest.mark.parametrize(
    "reference",
    [
        "../x",
        "/etc",
        "file:///x",
        "http://169.254.169.254",
        "a/b/c",
        "a..b",
        "",
        ".hidden",
        "\uff54eacher",
        "a b",
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student", "dataset"])
def test_a_reference_is_never_a_path_or_an_address(role: str, reference: str) -> None:
    with pytest.raises(ValidationError):
        spec_of(**{role: reference})


def test_a_config_takes_known_keys_alone() -> None:
    with pytest.raises(ValidationError):
        spec_of(student={"config": {"model_type": "bert", "auto_map": "evil.py"}})


@pytest.mark.parametrize(
    "written",
    [
        {"teacher": {"model": "t", "weight": 0}},
        {"student": {"from_teacher": {"layers": [-1]}}},
        {"method": {"hidden": {"layers": [[0, -1]]}}},
    ],
    ids=json.dumps,
)
def test_one_fault_is_said_once(written: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(**written)
    assert refused.value.error_count() == 1


def test_the_schema_says_that_a_list_may_not_be_empty() -> None:
    schema = JobSpec.model_json_schema()
    assert [way.get("minItems") for way in schema["properties"]["teacher"]["anyOf"]] == [None, 1, None]
    assert schema["$defs"]["FromTeacherSpec"]["properties"]["layers"]["minItems"] == 1


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValidationError):
        spec_of().T = 3.0  # type: ignore[misc]


def test_jsd_has_a_beta_from_the_start() -> None:
    assert spec_of(method={"divergence": "jsd"}).method.beta == 0.5


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        ({}, "alpha*T^2*KL(teacher||student)+(1-alpha)*CE"),
        ({"divergence": "reverse_kl"}, "alpha*T^2*KL(student||teacher)+(1-alpha)*CE"),
        ({"divergence": "tvd"}, "alpha*T^2*TVD(teacher,student)+(1-alpha)*CE"),
        ({"hidden": {"weight": 0.5}}, "alpha*T^2*KL(teacher||student)+(1-alpha)*CE+0.5*hidden_cosine"),
        ({"alignment": "uld"}, "alpha*ULD_T(teacher,student)+(1-alpha)*CE"),
        ({"type": "on_policy"}, "alpha*T^2*JSD_beta(teacher,student)+(1-alpha)*CE(data set's completions)"),
    ],
)
def test_the_loss_is_said_in_words(method: dict[str, Any], formula: str) -> None:
    task = "text-generation" if "type" in method or "alignment" in method else "text-classification"
    assert spec_of(task=task, method=method).loss_formula == formula


def test_the_three_that_are_required_are_required() -> None:
    for name in ("teacher", "student", "dataset"):
        with pytest.raises(ValidationError) as refused:
            JobSpec.model_validate({key: value for key, value in SMALLEST.items() if key != name})
        assert refused.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"task": "text-generation", "student": {"model": "s", "trainable": "head"}}, "student.trainable"),
        ({"task": "text-generation", "method": {"hidden": {}}}, "method.hidden"),
        (
            {"task": "text-generation", "dataset": {"id": "d", "columns": {"text_pair": "b"}}},
            "dataset.columns.text_pair",
        ),
        ({"task": "text-classification", "method": {"top_k": 8}}, "method.top_k"),
        ({"task": "text-classification", "training": {"train_on_prompt": True}}, "training.train_on_prompt"),
        ({"task": "text-classification", "training": {"augment": {"jitter_pixels": 2}}}, "training.augment"),
        ({"task": "text-generation", "student": {"config": MLP}}, "student.config.architecture"),
        ({"task": "image-classification", "training": {"max_length": 64}}, "training.max_length"),
        ({"task": "image-classification", "method": {"hidden": {}}}, "method.hidden"),
        ({"task": "image-classification", "method": {"type": "logits", "top_k": 3}}, "method.top_k"),
        (
            {"task": "image-classification", "dataset": {"id": "d", "columns": {"text_pair": "b"}}},
            "dataset.columns.text_pair",
        ),
        ({"task": "text-generation", "teacher": None, "alpha": 0.0}, "teacher"),
        (
            {
                "task": "text-classification",
                "teacher": None,
                "alpha": 0.0,
                "student": {"config": {"model_type": "bert"}},
            },
            "student.config",
        ),
    ],
)
def test_what_means_nothing_to_the_task_is_refused(written: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=place):
        spec_of(**written)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"method": {"type": "on_policy", "student_share": 1.0}}, "set alpha to 1"),
        ({"training": {"train_on_prompt": True}}, "training.train_on_prompt"),
        ({"training": {"max_length": 64}}, "64 tokens leave no room"),
        ({"method": {"type": "on_policy", "generation": {"max_new_tokens": 256}}}, "method.generation.max_new_tokens"),
        ({"method": {"type": "on_policy", "generation": {"engine": "openvino_int8"}}}, "and openvino takes it whole"),
        ({"method": {"type": "on_policy", "generation": {"system_prompt": "Be brief."}}}, "as messages"),
        ({"method": {"type": "on_policy", "generation": {"chat": True}}}, "as messages"),
        ({"method": {"type": "on_policy", "generation": {"samples_per_prompt": 2}}}, "samples_per_prompt is 1"),
    ],
)
def test_what_on_policy_cannot_mean_is_refused(written: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=place) as refused:
        spec_of(**{"task": "text-generation", "method": {"type": "on_policy"}, **written})
    assert [fault["type"] for fault in refused.value.errors()] == ["wrong_for_method"]


def test_what_a_student_writes_is_sampled_freely_unless_it_is_said() -> None:
    written = {"type": "on_policy", "generation": {"max_new_tokens": 32}}
    method = spec_of(task="text-generation", method=written).model_dump(mode="json")["method"]
    assert (method["divergence"], method["beta"], method["student_share"]) == ("jsd", 0.5, 0.5)
    sampling = method["generation"]
    assert (sampling["temperature"], sampling["top_p"], sampling["max_new_tokens"]) == (1.0, 1.0, 32)


@pytest.mark.parametrize(
    ("present", "form"),
    [
        (["prompt", "messages", "text"], "messages"),
        (["text", "prompt", "completion"], "prompt"),
        (["text", "label"], "text"),
        (["sentence"], None),
    ],
)
def test_a_language_model_reads_the_first_form_that_is_there(present: list[str], form: str | None) -> None:
    assert spec_of().dataset.columns.form_of(present) == form


ALONE: dict[str, Any] = {"task": "image-classification", "teacher": None, "alpha": 0.0, "student": {"config": MLP}}


def test_a_job_on_labels_alone_says_that_nobody_teaches() -> None:
    spec = spec_of(**ALONE)
    assert spec.teacher == ()
    assert spec.model_dump(mode="json")["teacher"] is None
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.loss_formula == "CE(label, student)"


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ({"alpha": 0.5}, "alpha above 0"),
        ({"student": {"from_teacher": {"layers": [0]}}}, "student.from_teacher"),
        ({"method": {"hidden": {}}}, "method.hidden"),
    ],
)
def test_what_a_teacher_is_needed_for_is_said(written: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=f"there is no teacher, but {what} asks for one") as refused:
        spec_of(**{**ALONE, "task": None, **written})
    assert [fault["type"] for fault in refused.value.errors()] == ["teacher_missing"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({**MLP, "hidden": []}, ("hidden",)),
        ({**MLP, "hidden": [0]}, ("hidden", 0)),
        ({**MLP, "dropout": 1.0}, ("dropout",)),
        ({**MLP, "architecture": "cnn"}, ("architecture",)),
        ({**MLP, "model_type": "bert"}, ("model_type",)),
        ({"architecture": "mlp"}, ("hidden",)),
    ],
)
def test_a_network_on_pixels_is_judged_as_one(config: dict[str, Any], place: tuple[str | int, ...]) -> None:
    """A slip in it is not told as one in a transformers config."""
    with pytest.raises(ValidationError) as refused:
        spec_of(**{**ALONE, "student": {"config": config}})
    assert [fault["loc"] for fault in refused.value.errors()] == [("student", "config", "mlp", *place)]


def test_widths_may_be_lists_in_a_transformers_config() -> None:
    config = {"model_type": "resnet", "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    said = spec_of(**{**ALONE, "student": {"config": config}}).model_dump(mode="json")
    assert said["student"]["config"] == config
