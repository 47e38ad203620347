"""An uploaded file on its way to storage: a scratch folder of its own, gone when the request is over."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

COPY_BYTES = 1 << 20
FOLDER_PREFIX = "upload-"


@contextmanager
def scratch_folder(work: Path) -> Iterator[Path]:
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=work) as folder:
        yield Path(folder)


def remove_left_over(work: Path) -> int:
    """Delete the scratch folders of uploads that a killed process left. Returns how many there were."""
    folders = list(work.glob(f"{FOLDER_PREFIX}*"))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)


def save(upload: UploadFile, target: Path) -> str:
    """Copy the upload to a file. Returns its SHA-256."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while piece := upload.file.read(COPY_BYTES):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def filename_of(upload: UploadFile) -> str:
    """The upload's own name without folders or control characters."""
    name = (upload.filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    name = re.sub(r"[\x00-\x1f\x7f]", "", name.encode("utf-8", "replace").decode())
    return name[:200] or "upload"
