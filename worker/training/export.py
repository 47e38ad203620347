"""The student and everything that belongs to it, as one folder whose manifest names each file."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from core.report import Report
from core.spec import JobSpec
from worker.training.checkpoints import files_below, sha256_of
from worker.training.desk import Desk
from worker.training.models import Loaded
from worker.training.reading import Reader, save_reader


@dataclass(frozen=True)
class Pages:
    """What the export says in words: report.html, README.md, and where everything came from."""

    report: str
    card: str
    provenance: Mapping[str, Any]


def export(
    desk: Desk,
    model: PreTrainedModel,
    reader: Reader,
    report: Report,
    pages: Pages,
    finetuned: Mapping[str, Loaded],
    files: Sequence[Path] = (),
) -> Path:
    """Write every artifact into `<folder>/artifacts`, the manifest last, and return the folder.

    `finetuned` are the teachers that this job trained, by the name of their folder in it: they are the job's work too.
    So are `files`, which are copied in.
    """
    folder = desk.folder / "artifacts"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    save_model(model, reader, folder)
    for name, teacher in finetuned.items():
        save_model(teacher.model, teacher.reader or reader, folder / name)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    _write(folder / "spec.json", spec_text(desk.spec))
    _write(folder / "report.json", report.model_dump_json(indent=2))
    _write(folder / "report.html", pages.report)
    _write(folder / "README.md", pages.card)
    _write(
        folder / "MANIFEST.json",
        json.dumps(manifest(folder, desk.spec, pages.provenance), indent=2, ensure_ascii=False),
    )
    return folder


def finetuned_of(desk: Desk, teachers: Sequence[Loaded]) -> dict[str, Loaded]:
    """Return the teachers that this job trained, by their folder in the export: `teacher`, `teacher-N` of several."""
    several = len(desk.spec.teacher_models) > 1
    return {
        f"teacher-{place + 1}" if several else "teacher": teacher
        for place, (spec, teacher) in enumerate(zip(desk.spec.teacher_models, teachers, strict=True))
        if spec.finetune is not None
    }


def save_model(model: PreTrainedModel, reader: Reader, folder: Path) -> None:
    """Save a model so that transformers 5 and 4 both load it with their Auto classes."""
    model.save_pretrained(folder)
    save_reader(reader, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    _write(path, json.dumps(for_both_versions(config), indent=2, sort_keys=True, ensure_ascii=False))


def for_both_versions(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with torch_dtype and what rotary embeddings are made of where version 4 looks for them, beside
    what version 5 writes."""
    both = {key: value for key, value in config.items() if key != "_name_or_path"}
    if "dtype" in both:
        both["torch_dtype"] = both["dtype"]
    rope = both.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        both["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            both["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
        if "partial_rotary_factor" in rope:
            both["partial_rotary_factor"] = rope["partial_rotary_factor"]
    elif isinstance(rope, dict) and both.get("model_type") == "modernbert":
        both["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        both["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
    return both


def spec_text(spec: JobSpec) -> str:
    """Return the spec with every default, the same text for the same spec."""
    return json.dumps(spec.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def manifest(folder: Path, spec: JobSpec, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the list of files with sizes and hashes, and where the student came from."""
    files = [
        {"path": str(path.relative_to(folder)), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in files_below(folder)
    ]
    spec_hash = hashlib.sha256(spec_text(spec).encode()).hexdigest()
    return {"files": files, "spec_sha256": spec_hash, "provenance": dict(provenance)}


def _write(path: Path, text: str) -> None:
    path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
