"""A classifier says what texts are: the probabilities of a direct forward pass."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.service.samples import upload_model
from tests.service.served import CLASSES, Served

TEXTS = ["a good film", "a very bad film with a dull plot", "the plot was warm"]


def test_probabilities_are_those_of_a_direct_forward_pass(served: Served) -> None:
    answer = served.http.post("/v1/models/judge/classify", json={"texts": TEXTS}, timeout=120)
    assert answer.status_code == 200, answer.text
    model = AutoModelForSequenceClassification.from_pretrained(served.classifier_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(served.classifier_folder)
    for index, (text, found) in enumerate(zip(TEXTS, answer.json()["data"], strict=True)):
        with torch.inference_mode():
            expected = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1).tolist()
        assert list(found["probabilities"]) == CLASSES
        assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
        assert found["label"] == CLASSES[expected.index(max(expected))]
        assert found["probability"] == max(found["probabilities"].values())
        assert (found["index"], found["truncated"]) == (index, False)


def test_a_text_that_is_cut_is_said_to_be_and_a_pair_is_read_as_one(served: Served) -> None:
    texts = ["good " * 100, {"text": "good", "text_pair": "bad"}]
    answer = served.http.post("/v1/models/judge/classify", json={"texts": texts}, timeout=120)
    assert [found["truncated"] for found in answer.json()["data"]] == [True, False]


def test_what_is_no_classifier_is_refused_with_where_to_go(served: Served) -> None:
    encoder = upload_model(served.http, labels=None)
    for name, code, hint in [
        ("writer", "not_a_classifier", "/v1/chat/completions"),
        (encoder, "not_a_classifier", "fine-tune"),
    ]:
        answer = served.http.post(f"/v1/models/{name}/classify", json={"texts": ["x"]})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert hint in answer.json()["hint"]
    assert served.http.post("/v1/models/nobody/classify", json={"texts": ["x"]}).status_code == 404
    assert served.http.post("/v1/models/judge/classify", json={"texts": []}).status_code == 422


def test_a_model_that_cannot_be_loaded_is_the_users_to_mend(served: Served) -> None:
    """Its files were taken as they say they are; only loading shows that they make no model."""
    broken = upload_model(served.http)
    answer = served.http.post(f"/v1/models/{broken}/classify", json={"texts": ["x"]}, timeout=120)
    assert (answer.status_code, answer.json()["code"]) == (422, "model_unreadable")
    assert answer.json()["errors"][0]["pointer"] == "/path/name"
