"""The folder that a user downloads: complete, true to its manifest, and harmless whatever the labels say."""

import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    pipeline,
)

from core.report import REPORT
from core.spec import JobSpec
from tests.worker.training.conftest import Lab, Notebook, classifier, sentences, write_parquet
from worker.training.distil import Outcome
from worker.training.export import for_both_versions
from worker.training.export_tokenizer import classic_class, save_tokenizer

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(2)>|`[x](javascript:alert(3))`']


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, dataset: Path, teacher_folder: Path) -> Outcome:
    lab = Lab(tmp_path_factory.mktemp("export"), dataset, teacher_folder)
    return lab.run(name="intents", output={"model": "intents-small"}, training={"max_steps": 40, "learning_rate": 3e-3})


def test_every_promised_file_is_there(outcome: Outcome) -> None:
    names = {path.name for path in outcome.student.iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names >= {"report.json", "report.html", "README.md", "spec.json", "MANIFEST.json"}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))}


def test_the_manifest_names_every_other_file_with_its_hash(outcome: Outcome) -> None:
    manifest = json.loads((outcome.student / "MANIFEST.json").read_text())
    listed = {one["path"]: (one["bytes"], one["sha256"]) for one in manifest["files"]}
    found = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in outcome.student.iterdir()
        if path.name != "MANIFEST.json"
    }
    assert listed == found
    assert manifest["provenance"]["teacher-0"] == {"sha256": "of-the-test"}
    assert manifest["spec_sha256"] == hashlib.sha256((outcome.student / "spec.json").read_bytes()).hexdigest()


def test_spec_and_report_read_back(outcome: Outcome) -> None:
    spec = JobSpec.model_validate_json((outcome.student / "spec.json").read_text())
    assert spec.training.max_steps == 40
    assert REPORT.validate_json((outcome.student / "report.json").read_text()) == outcome.report


def test_plain_transformers_loads_the_student_and_reaches_the_reported_accuracy(
    outcome: Outcome, dataset: Path
) -> None:
    classify = pipeline("text-classification", model=str(outcome.student))
    assert classify("a great film")[0]["label"] in ("neg", "pos")
    columns = sentences(200, 120)
    labelled = list(zip(columns["text"], columns["label"], strict=True))[:120]
    right = sum(classify(text)[0]["label"] == label for text, label in labelled) / len(labelled)
    assert outcome.report.student_after.accuracy == pytest.approx(right, abs=0.2)


def test_both_versions_of_transformers_find_their_words(outcome: Outcome) -> None:
    config = json.loads((outcome.student / "config.json").read_text())
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert config["id2label"] == {"0": "neg", "1": "pos"}
    assert "_name_or_path" not in config
    written = json.loads((outcome.student / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "BertTokenizerFast"
    assert for_both_versions({"rope_parameters": {"rope_theta": 5e4}})["rope_theta"] == 5e4
    assert classic_class("TokenizersBackend", is_fast=True) == "PreTrainedTokenizerFast"
    assert classic_class("RobertaTokenizer", is_fast=True) == "RobertaTokenizerFast"


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(rope_parameters={"rope_type": "linear", "rope_theta": 5e4, "factor": 4.0}),
        PhiConfig(rope_parameters={"rope_type": "default", "rope_theta": 5e4, "partial_rotary_factor": 0.4}),
    ],
    ids=["scaled", "partial"],
)
def test_rotary_embeddings_are_said_as_version_4_reads_them_and_version_5_reads_the_same(
    config: PretrainedConfig,
) -> None:
    written = for_both_versions(config.to_dict())
    assert written["rope_theta"] == 5e4
    if isinstance(config, LlamaConfig):
        assert written["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    else:
        assert written["partial_rotary_factor"] == 0.4
        assert "rope_scaling" not in written
    assert type(config)(**written).rope_parameters == config.rope_parameters


def test_special_tokens_without_a_name_are_written_where_version_4_looks(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"extra_special_tokens": ["<tool>", "</tool>"]})
    save_tokenizer(own, tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["additional_special_tokens"] == ["<tool>", "</tool>"]
    assert not isinstance(written.get("extra_special_tokens"), list)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        again("<tool>", add_special_tokens=False)["input_ids"] == own("<tool>", add_special_tokens=False)["input_ids"]
    )
    assert "<tool>" in again.all_special_tokens


def test_the_tokenizer_keeps_no_truncation_from_training(outcome: Outcome) -> None:
    tokenizer = AutoTokenizer.from_pretrained(outcome.student)
    assert len(tokenizer("good " * 50)["input_ids"]) == 52


def test_the_student_is_the_one_that_was_measured(outcome: Outcome) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(outcome.student)
    assert sum(p.numel() for p in model.parameters()) == outcome.report.student_after.parameters
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_card_says_where_the_student_comes_from(outcome: Outcome) -> None:
    card = ModelCard.load(outcome.student / "README.md")
    assert card.data.base_model is None, "no hub has it"
    assert "knowledge-distillation" in card.data.tags
    assert outcome.report.verdict in card.content
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured["accuracy"] == pytest.approx(outcome.report.student_after.accuracy, abs=1e-6)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    return parser.found


def test_the_page_shows_verdict_table_and_curves_without_network_or_script(outcome: Outcome) -> None:
    page = (outcome.student / "report.html").read_text()
    tags = tags_of(page)
    names = [tag for tag, _ in tags]
    assert "default-src 'none'" in page
    assert not {"script", "img", "link", "iframe", "object"} & set(names)
    assert not [attrs for _, attrs in tags if {"src", "href"} & set(attrs)]
    assert names.count("svg") == 4
    assert names.count("table") == 2
    assert outcome.report.verdict.split(":")[0] in page


def test_curves_stay_inside_their_box(outcome: Outcome) -> None:
    page = (outcome.student / "report.html").read_text()
    for path in re.findall(r' d="M([^"]+)"', page):
        points = [tuple(map(float, point.split())) for point in path.split("L")]
        assert all(0 <= x <= 560 and 0 <= y <= 240 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_markup_in_labels_and_names_is_shown_as_text(lab: Lab, tmp_path: Path, tokenizer: Any) -> None:
    columns = sentences(120, 120)
    columns["label"] = [HOSTILE[label == "pos"] for label in columns["label"]]
    folder = classifier(tmp_path / "hostile", sorted(HOSTILE), tokenizer)
    outcome = lab.run(
        Notebook(),
        teachers=(folder,),
        data=write_parquet(tmp_path / "hostile.parquet", columns),
        name="</title><script>alert(4)</script>",
        training={"max_steps": 2},
    )
    page, card = (outcome.student / "report.html").read_text(), (outcome.student / "README.md").read_text()
    assert not {"script", "img"} & {tag for tag, _ in tags_of(page)}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    body = card.split("---", 2)[2]
    assert "<script" not in body
    assert "<img" not in body
    assert "[x](" not in body  # the bracket is escaped, so that it is no link
    assert ModelCard(card).data.model_name == "</title><script>alert(4)</script>"
