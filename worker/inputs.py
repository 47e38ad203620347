"""What a job trains from, brought into its work folder: teachers, student, data set, earlier checkpoints."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.blobs import Blobs, Stored, sha256_of
from core.database import Database
from core.datasets import Datasets, examples_blob
from core.endpoints import EndpointSpec
from core.errors import DatasetNotFound, HubUnavailable, InputGone, ModelNotFound
from core.leases import Lease
from core.models import Models
from core.settings import Settings
from core.spec import JobSpec
from core.tables import Dataset, Model
from worker import hub
from worker.patience import Moved, fetch_patiently, patiently, unheard

VERSIONS = ("torch", "transformers", "tokenizers", "accelerate", "peft", "numpy", "pillow", "distillation-service")


class Gathered:
    """Folders and files for the training room, with the hashes that say what they were."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        settings: Settings,
        lease: Lease,
        owner: str,
        folder: Path,
        moved: Moved = unheard,
    ) -> None:
        self.database, self.blobs, self.settings, self.lease = database, blobs, settings, lease
        self.owner, self.folder, self.moved = owner, folder, moved
        self.provenance: dict[str, Any] = {
            "versions": {name: version(name) for name in VERSIONS} | {"python": platform.python_version()}
        }

    def model(self, role: str, reference: str, revision: str | None) -> Path:
        """A transformers folder for a model reference. Raises InputGone, HubUnavailable."""
        model = patiently(self.lease, lambda: self._find_model(reference))
        target = self.folder / "models" / role
        if model is not None:
            for file in model.files:
                stored = Stored(file["blob_key"], file["bytes"], file["sha256"])
                fetch_patiently(self.blobs, stored, target / file["path"], self.moved)
            self._say(role, reference, model.sha256, None)
            return target
        if "/" not in reference:
            raise InputGone(ModelNotFound(reference))
        self._allow_hub(reference)
        commit = hub.fetch_model(reference, revision, target, self.moved)
        self._say(role, reference, sha256_of_folder(target), commit)
        return target

    def black_box(self, endpoint: EndpointSpec) -> None:
        """Say which server teaches: of what is behind it nobody has a hash."""
        self.provenance["teacher-0"] = {"endpoint": endpoint.base_url, "model": endpoint.model}

    def dataset(self, spec: JobSpec) -> tuple[Path, JobSpec]:
        """The data set as Parquet, and the spec with the split column that a hub's own parts become."""
        target = self.folder / "dataset.parquet"
        wanted = spec.dataset
        if "/" in wanted.id:
            self._allow_hub(wanted.id)
            has_parts = hub.fetch_dataset(wanted.id, wanted.subset, wanted.split, target)
            self._say("dataset", wanted.id, sha256_of(target), None)
            return target, _with_split_column(spec) if has_parts else spec
        try:
            dataset = patiently(self.lease, lambda: self._get_dataset(wanted.id))
        except DatasetNotFound as gone:
            raise InputGone(gone) from None
        fetch_patiently(self.blobs, examples_blob(dataset), target, self.moved)
        self._say("dataset", wanted.id, dataset.sha256, None)
        return target, spec

    def _find_model(self, reference: str) -> Model | None:
        with self.database.read() as session:
            return Models(session, self.owner).find(reference)

    def _get_dataset(self, dataset_id: str) -> Dataset:
        with self.database.read() as session:
            return Datasets(session, self.owner).get(dataset_id)

    def _allow_hub(self, reference: str) -> None:
        if not self.settings.hub:
            raise HubUnavailable(reference, "the operator has turned the hub off (DISTILL_HUB=false)")

    def _say(self, role: str, reference: str, sha256: str, commit: str | None) -> None:
        self.provenance[role] = {"reference": reference, "sha256": sha256}
        if commit is not None:
            self.provenance[role]["commit"] = commit


def _with_split_column(spec: JobSpec) -> JobSpec:
    if spec.dataset.columns.split is not None:
        return spec
    columns = spec.dataset.columns.model_copy(update={"split": hub.PART_COLUMN})
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"columns": columns})})


def sha256_of_folder(folder: Path) -> str:
    """The hash of the sorted list of the files' own hashes: the identity of a model's folder."""
    return sha256_of_files(
        {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
    )


def sha256_of_files(digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
