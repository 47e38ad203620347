"""`/v1/datasets`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from distill_client.chat import ANSWER_SECONDS
from distill_client.pages import walk
from distill_client.shapes import Dataset, Json, Reading
from distill_client.transport import Transport, json_of
from distill_client.upload import OnProgress, upload


class Datasets:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def upload(self, path: Path, name: str | None = None, on_progress: OnProgress | None = None) -> Dataset:
        """Upload JSONL, JSON, CSV, TSV or Parquet, plain or gzip/zstd, or a zip of images.

        Raises ApiError with the first ten faults.
        """
        with path.open("rb") as file:
            answer = upload(self.transport, "/v1/datasets", file, path.name, name, on_progress)
        return Dataset.model_validate(json_of(answer))

    def list(self, limit: int | None = None) -> Iterator[Dataset]:
        return walk(self.transport, "/v1/datasets", Dataset, limit)

    def get(self, dataset_id: str) -> Dataset:
        return Dataset.model_validate(json_of(self.transport.get(f"/v1/datasets/{dataset_id}")))

    def examples(self, dataset_id: str, limit: int = 10) -> Sequence[Json]:
        """The first examples, as the service understood them."""
        answer = json_of(self.transport.get(f"/v1/datasets/{dataset_id}/examples", {"limit": limit}))
        return list(answer["data"])

    def readings(
        self, dataset_id: str, tokenizer: str, limit: int = 10, max_length: int = 256, **columns: str
    ) -> Sequence[Reading]:
        """The first examples as a language model of yours reads them: tokens, which are learned, and what is cut.

        `columns` may name `prompt`, `completion`, `text` and `messages`, as `dataset.columns` of a job does. For chats
        a process may have to start first.
        """
        asked = {"limit": limit, "tokenizer": tokenizer, "max_length": max_length, **columns}
        timeout = self.transport.patient(ANSWER_SECONDS)
        answer = json_of(self.transport.get(f"/v1/datasets/{dataset_id}/examples", asked, timeout=timeout))
        return [Reading.model_validate(one) for one in answer["readings"]]

    def delete(self, dataset_id: str) -> None:
        self.transport.delete(f"/v1/datasets/{dataset_id}")
