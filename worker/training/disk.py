"""How a full disk looks: Python, safetensors and torch each say it in their own way."""

import errno
import shutil
from pathlib import Path

NEARLY_NOTHING_BYTES = 1 << 20


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Tell whether an error says that the disk is full; torch only says that writing failed, so the disk is asked."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if "No space left" in text or "StorageFull" in text:
        return True
    return ("inline_container" in text or "PytorchStreamWriter" in text) and free_bytes(folder) < NEARLY_NOTHING_BYTES
