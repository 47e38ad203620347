"""Models and data sets from a hub, by org/name. Weights as safetensors only, and no code."""

from pathlib import Path

import datasets
import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import tqdm

from core.errors import HubUnavailable
from worker.patience import Moved, unheard

PART_COLUMN = "split"
PARTS = ("train", "validation", "test")
MODEL_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_UNREACHED = (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.HTTPError, OSError, ValueError)


def fetch_model(reference: str, revision: str | None, target: Path, moved: Moved = unheard) -> str:
    """Put a hub model's files into `target`; return the commit that it was pinned to. Raises HubUnavailable."""
    try:
        commit = HfApi().model_info(reference, revision=revision).sha or ""
        snapshot_download(
            reference, revision=commit, local_dir=target, allow_patterns=MODEL_FILES, tqdm_class=_telling(moved)
        )
    except _UNREACHED as error:
        raise HubUnavailable(reference, _first_line(error)) from error
    return commit


def _telling(moved: Moved) -> type[tqdm]:
    """A progress bar as the hub's library wants one, which tells when bytes have come."""

    class Telling(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            moved()
            is_shown: bool | None = super().update(n)
            return is_shown

    return Telling


def fetch_dataset(reference: str, subset: str | None, split: str | None, target: Path) -> bool:
    """Write a hub data set as Parquet. Returns whether its parts became the column `split`. Raises HubUnavailable."""
    try:
        loaded = datasets.load_dataset(reference, name=subset, split=split)
    except _UNREACHED as error:
        raise HubUnavailable(reference, _first_line(error)) from error
    return write_parquet(loaded, target)


def write_parquet(loaded: "datasets.Dataset | datasets.DatasetDict", target: Path) -> bool:
    """Write one split as it is, several as one with the column `split`; class numbers become their names."""
    if isinstance(loaded, datasets.DatasetDict):
        parts = {name: part for name, part in loaded.items() if name in PARTS} or dict(loaded)
        named = [_named(part).add_column(PART_COLUMN, [name] * len(part)) for name, part in parts.items()]
        datasets.concatenate_datasets(named).to_parquet(str(target))
        return True
    _named(loaded).to_parquet(str(target))
    return False


def _named(part: "datasets.Dataset") -> "datasets.Dataset":
    """A ClassLabel holds numbers and knows their names; -1 is a hub's way to say that there is no label."""
    for column, feature in part.features.items():
        if isinstance(feature, datasets.ClassLabel):
            numbers = part[column]
            names = [feature.int2str(number) if number is not None and number >= 0 else None for number in numbers]
            part = part.remove_columns(column).add_column(column, names)
    return part


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
