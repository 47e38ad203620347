"""Small data sets and models to upload, and jobs in any state, made as a worker makes them."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import update

from core import leases
from core.artifacts import replace_artifacts
from core.leases import Lease
from core.tables import Artifact, Job, Model
from tests.service.live import Live

LABELS = ("negative", "positive")
Tensors = Mapping[str, Sequence[int]]
TENSORS: Tensors = {
    "bert.embeddings.word_embeddings.weight": (30, 8),
    "bert.encoder.layer.0.output.dense.weight": (8, 8),
    "classifier.weight": (2, 8),
}


def examples(count: int = 40, labels: Sequence[str] = LABELS) -> bytes:
    lines = [{"text": f"film number {place} was fine", "label": labels[place % len(labels)]} for place in range(count)]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def safetensors(tensors: Tensors = TENSORS, dtype: str = "F32", width: int = 4) -> bytes:
    header: dict[str, Any] = {}
    place = 0
    for name, shape in tensors.items():
        size = width
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + bytes(place)


def config(labels: Sequence[str] | None = LABELS, **more: Any) -> dict[str, Any]:
    head = "BertForSequenceClassification" if labels else "BertModel"
    sizes = {"hidden_size": 8, "num_hidden_layers": 4, "intermediate_size": 16, "vocab_size": 30}
    named = {"id2label": {str(place): name for place, name in enumerate(labels)}} if labels else {}
    return {"model_type": "bert", "architectures": [head], **sizes, **named, **more}


def model_files(labels: Sequence[str] | None = LABELS) -> dict[str, bytes]:
    return {
        "config.json": json.dumps(config(labels)).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": b'{"version": "1.0"}',
        "vocab.txt": b"[UNK]\n[PAD]\n",
    }


def tokenizer_json(words: Mapping[str, int]) -> bytes:
    return json.dumps({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": words}}).encode()


WORDS = {"<|end|>": 0, "a": 1, "b": 2}


def writer_files(words: Mapping[str, int] | None = None, *, template: bool = True) -> dict[str, bytes]:
    """A causal language model's folder, as far as the service looks."""
    named = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 6, "vocab_size": 30}
    written = {"chat_template": "{{ messages }}"} if template else {}
    return {
        "config.json": json.dumps(named).encode(),
        "model.safetensors": safetensors({"model.embed_tokens.weight": (30, 8), "lm_head.weight": (30, 8)}),
        "tokenizer.json": tokenizer_json(WORDS if words is None else words),
        "tokenizer_config.json": json.dumps(written).encode(),
    }


def upload_writer(http: httpx.Client, files: Mapping[str, bytes] | None = None) -> str:
    name = f"w-{uuid4().hex[:12]}"
    packed = {"file": ("model.zip", zipped(writer_files() if files is None else files))}
    answer = http.post("/v1/models", files=packed, data={"name": name})
    assert answer.status_code == 201, answer.text
    return name


def lines(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return archive.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as packed:  # type: ignore[call-overload] # the mode is a variable
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def upload_dataset(http: httpx.Client, content: bytes | None = None, filename: str = "films.jsonl") -> str:
    answer = http.post("/v1/datasets", files={"file": (filename, examples() if content is None else content)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def upload_model(http: httpx.Client, labels: Sequence[str] | None = LABELS, name: str | None = None) -> str:
    name = name or f"m-{uuid4().hex[:12]}"
    files = {"file": ("model.zip", zipped(model_files(labels)))}
    answer = http.post("/v1/models", files=files, data={"name": name})
    assert answer.status_code == 201, answer.text
    return name


def spec(http: httpx.Client, **changes: Any) -> dict[str, Any]:
    """The smallest job that passes, with models and data of its own."""
    plain = {"teacher": upload_model(http), "student": upload_model(http), "dataset": upload_dataset(http)}
    return {**plain, **changes}


def submit(http: httpx.Client, **changes: Any) -> str:
    answer = http.post("/v1/jobs", json=spec(http, **changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def claimed(live: Live, job_id: str) -> Lease:
    """Take the job as a worker does."""
    lease = Lease(job_id, uuid4().hex, "worker-1", 600)
    with live.database.write() as session:
        assert leases.claim(session, lease) is not None
        session.commit()
    return lease


REPORT = {
    "task": "text-classification",
    "held_out": "test",
    "examples": {"train": 32, "labelled": 32, "validation": 4, "test": 4, "truncated": 0},
    "labels": list(LABELS),
    "student": {"architecture": "BertForSequenceClassification", "layers": 2, "embedding_parameters": 240},
    "teachers": {},
    "baseline": None,
    "gain": None,
    "classes": [],
    "compression": 2.0,
    "speedup": 1.5,
    "cost": {"seconds": {"training": 30.0}, "steps": 10, "device": "cpu", "precision": "fp32"},
    "verdict": "The student keeps what the teacher knows.",
} | {
    model: {
        "accuracy": 0.75,
        "macro_f1": 0.7,
        "ce_loss": 0.5,
        "agreement": 1.0,
        "kl_to_teacher": 0.0,
        "parameters": 320,
        "bytes": 1280,
        "latency_ms": 1.0,
        "examples_per_second": 100.0,
    }
    for model in ("teacher", "student_before", "student_after")
}


def finished(live: Live, files: Mapping[str, bytes], folder: Path, **changes: Any) -> str:
    """A succeeded job that left `files`; those without a folder in their path are also its student's."""
    job_id = submit(live.http, **changes)
    lease = claimed(live, job_id)
    model_id = job_id.replace("job_", "model_", 1)
    rows = []
    for path, content in files.items():
        (folder / "file").write_bytes(content)
        stored = live.service.blobs.put(f"models/{model_id}/1/{path}", folder / "file")
        media_type = "text/html" if path.endswith(".html") else "application/octet-stream"
        rows.append(
            Artifact(
                job_id=job_id,
                path=path,
                bytes=stored.bytes,
                sha256=stored.sha256,
                media_type=media_type,
                blob_key=stored.key,
            )
        )
    with live.database.write() as session:
        leases.succeed(session, lease, REPORT)
        session.execute(update(Job).where(Job.id == job_id).values(seconds_run=60.0))
        replace_artifacts(session, job_id, rows)
        session.add(_student(live, job_id, model_id, rows))
        session.commit()
    return job_id


def _student(live: Live, job_id: str, model_id: str, rows: Sequence[Artifact]) -> Model:
    return Model(
        id=model_id,
        owner="local",
        name=job_id,
        source="distilled",
        job_id=job_id,
        task="text-classification",
        architecture="BertForSequenceClassification",
        labels=list(LABELS),
        layers=2,
        parameters=320,
        embedding_parameters=240,
        bytes=sum(row.bytes for row in rows),
        sha256="0" * 64,
        files=[{"path": row.path, "bytes": row.bytes, "sha256": row.sha256, "blob_key": row.blob_key} for row in rows],
    )
