"""Teacher, student before and student after, asked the same: each as it is alone, and how far they agree.

Legend: T positions.
"""

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import torch
from sqlalchemy import update
from transformers import PreTrainedModel

from core import leases
from core.artifacts import replace_artifacts
from core.jobs import Jobs
from core.leases import Lease
from core.models import Models
from core.spec import JobSpec
from core.tables import Artifact, Job, Model
from tests.service.samples import REPORT
from tests.service.served import CLASSES, Served, llama, tokenizer_of, upload
from tests.worker.training.conftest import WORDS, classifier, wordpiece
from tests.worker.training.language.conftest import saved
from worker.training.language.models import fresh_writer
from worker.training.students import of_layers

PROMPTS = ["Count from one:", "Count from two: three"]


def finished_job(served: Served, made: str, **spec: Any) -> str:
    """A job that succeeded, as a worker leaves it; an uploaded model is given to it as its student."""
    with served.live.database.write() as session:
        models = Models(session, "local")
        whole = JobSpec.model_validate({"dataset": "ds_1", "task": "text-generation", **spec})
        read = [models.get(teacher.model).id for teacher in whole.teacher_models]
        read += [models.get(whole.student.model).id] if whole.student.model else []
        job = Jobs(session, "local").add(whole, None, read)
        session.commit()
        lease = Lease(job.id, uuid4().hex, "worker-1", 600)
        assert leases.claim(session, lease) is not None
        leases.succeed(session, lease, REPORT)
        session.execute(update(Model).where(Model.name == made).values(job_id=job.id, source="distilled"))
        session.commit()
        return job.id


def compare(served: Served, job_id: str, **body: Any) -> httpx.Response:
    return served.http.post(f"/v1/jobs/{job_id}/compare", json={"prompts": PROMPTS, **body}, timeout=120)


def uploaded(served: Served, model: PreTrainedModel) -> str:
    name = f"m-{uuid4().hex[:8]}"
    upload(served.http, saved(served.live.settings.work / name, model, tokenizer_of()), name)
    return name


@torch.inference_mode()
def written(model: Any, ids: list[int], tokens: int) -> list[int]:
    whole = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=tokens, eos_token_id=2, pad_token_id=0)
    return [int(token) for token in whole[0, len(ids) :]]


@torch.inference_mode()
def agreeing(model: Any, ids: list[int], target: list[int]) -> list[bool]:
    """Whether the model would have chosen each token in its place."""
    chosen_T = model(input_ids=torch.tensor([ids + target])).logits[0, len(ids) - 1 : -1].argmax(-1)
    return [int(chosen) == token for chosen, token in zip(chosen_T, target, strict=True)]


def test_each_side_writes_what_it_writes_alone_and_agreement_is_token_by_token(served: Served) -> None:
    after = llama(len(served.tokenizer), layers=2, seed=1)
    student = uploaded(served, after)
    job_id = finished_job(served, student, teacher="writer", student={"from_teacher": {"layers": [0, 2]}})
    answer = compare(served, job_id, max_tokens=10)
    assert answer.status_code == 200, answer.text
    sides = {side["role"]: side for side in answer.json()["sides"]}
    assert list(sides) == ["teacher", "student_before", "student_after"]
    models = {
        "teacher": served.writer,
        "student_before": of_layers((0, 2), served.writer, 0, fresh_writer).eval(),
        "student_after": after,
    }
    prompts = [served.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    taught = [written(served.writer, ids, 10) for ids in prompts]
    for role, model in models.items():
        side = sides[role]
        assert side["omitted"] is None
        assert side["tokens_per_second"] > 0
        for ids, own in zip(prompts, side["answers"], strict=True):
            assert own["text"] == served.tokenizer.decode(written(model, ids, 10), skip_special_tokens=True)
            assert (own["prompt_tokens"], own["completion_tokens"]) == (len(ids), 10)
        if role != "teacher":
            agreed = [one for ids, target in zip(prompts, taught, strict=True) for one in agreeing(model, ids, target)]
            assert side["agreement"] == pytest.approx(sum(agreed) / len(agreed))
    assert sides["teacher"]["agreement"] is None


def test_a_student_that_is_its_teacher_agrees_with_it_in_all(served: Served) -> None:
    student = uploaded(served, served.writer)
    job_id = finished_job(served, student, teacher="writer", student={"model": "plain"})
    chat = [{"role": "user", "content": "Count from one:"}]
    sides = compare(served, job_id, prompts=["Count"], max_tokens=6, temperature=1, seed=3).json()["sides"]
    assert sides[0]["answers"] == sides[2]["answers"]
    # `plain` began without a chat template: that it cannot read a conversation is said with the prompt's place.
    refused = compare(served, job_id, prompts=["Count", chat], max_tokens=6)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/prompts/1")
    greedy = compare(served, job_id, max_tokens=6).json()["sides"]
    assert greedy[2]["agreement"] == 1.0
    assert greedy[1]["agreement"] < 1.0


def test_classifiers_are_compared_by_their_labels_and_a_finetuned_teacher_is_the_jobs_own(
    served: Served, tmp_path: Path
) -> None:
    folders = {}
    for name, seed in (("student", 5), ("teacher", 6)):
        (tmp_path / name).mkdir()
        folders[name] = classifier(tmp_path / name, CLASSES, wordpiece(WORDS), seed=seed)
    student = f"m-{uuid4().hex[:8]}"
    upload(served.http, folders["student"], student)
    spec = {
        "task": "text-classification",
        "teacher": {"model": "judge", "finetune": {"epochs": 1}},
        "student": {"config": {"model_type": "bert"}},
    }
    job_id = finished_job(served, student, **spec)
    keep_artifacts(served, job_id, folders["teacher"], "teacher")
    texts = ["a good film", "a bad film", "the plot was warm and bright"]
    answer = compare(served, job_id, prompts=texts)
    assert answer.status_code == 200, answer.text
    teacher, before, after = answer.json()["sides"]
    assert teacher["model"] == "judge (fine-tuned)"
    upload(served.http, folders["teacher"], f"{student}-teacher")
    alone = served.http.post(f"/v1/models/{student}-teacher/classify", json={"texts": texts}, timeout=60).json()
    assert teacher["answers"] == alone["data"]
    assert "random weights" in before["omitted"]
    assert before["answers"] == []
    same = [one["label"] == other["label"] for one, other in zip(teacher["answers"], after["answers"], strict=True)]
    assert after["agreement"] == pytest.approx(sum(same) / 3)
    assert after["examples_per_second"] > 0
    refused = compare(served, job_id, prompts=[[{"role": "user", "content": "x"}]], max_tokens=3)
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/max_tokens", "/prompts/0"]


def keep_artifacts(served: Served, job_id: str, folder: Path, below: str) -> None:
    """Store a fine-tuned teacher as the worker does."""
    rows = []
    for path in folder.iterdir():
        stored = served.live.service.blobs.put(f"jobs/{job_id}/artifacts/1/{below}/{path.name}", path)
        facts = {"bytes": stored.bytes, "sha256": stored.sha256, "blob_key": stored.key, "media_type": "text/plain"}
        rows.append(Artifact(job_id=job_id, path=f"{below}/{path.name}", **facts))
    with served.live.database.write() as session:
        replace_artifacts(session, job_id, rows)
        session.commit()


def test_what_is_gone_is_omitted_with_its_reason_and_the_rest_is_compared(served: Served) -> None:
    teacher, start, student = (uploaded(served, llama(len(served.tokenizer), seed=seed)) for seed in (1, 2, 3))
    job_id = finished_job(served, student, teacher=teacher, student={"model": start})
    served.http.delete(f"/v1/models/{teacher}").raise_for_status()
    served.http.delete(f"/v1/models/{start}").raise_for_status()
    upload(served.http, served.live.settings.work / start, start)
    sides = compare(served, job_id, max_tokens=2).json()["sides"]
    assert sides[0]["omitted"] == "it was deleted"
    assert "another one than the job read" in sides[1]["omitted"]
    assert len(sides[2]["answers"]) == 2
    assert sides[2]["agreement"] is None


def test_a_job_that_has_no_student_yet_is_not_compared_and_another_owners_is_none(served: Served) -> None:
    job_id = finished_job(served, "nobody", teacher="writer", student={"model": "plain"})
    with served.live.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="running"))
        session.commit()
    answer = compare(served, job_id)
    assert (answer.status_code, answer.json()["code"]) == (409, "impossible_move")
    assert compare(served, "job_0").status_code == 404
    with served.live.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(owner="somebody else", status="succeeded"))
        session.commit()
    assert compare(served, job_id).status_code == 404
