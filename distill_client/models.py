"""`/v1/models`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from distill_client.answers import Classification
from distill_client.chat import ANSWER_SECONDS
from distill_client.download import RemoteFile, fetch_all
from distill_client.pages import walk
from distill_client.shapes import Model
from distill_client.transport import Transport, json_of
from distill_client.upload import OnProgress, packed, upload


class Models:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def upload(self, path: Path, name: str, on_progress: OnProgress | None = None) -> Model:
        """Upload an archive, or a transformers folder, which is packed on the way. Raises ApiError."""
        if path.is_dir():
            with packed(path) as spool:
                answer = upload(self.transport, "/v1/models", spool, f"{path.name}.tar", name, on_progress)
        else:
            with path.open("rb") as file:
                answer = upload(self.transport, "/v1/models", file, path.name, name, on_progress)
        return Model.model_validate(json_of(answer))

    def list(self, limit: int | None = None) -> Iterator[Model]:
        return walk(self.transport, "/v1/models", Model, limit)

    def get(self, name: str) -> Model:
        return Model.model_validate(json_of(self.transport.get(f"/v1/models/{name}")))

    def download(
        self, name: str, folder: Path, on_progress: OnProgress | None = None, *, replace: bool = False
    ) -> Sequence[Path]:
        """Fetch a model into a folder that transformers loads as it is. Continues an earlier cut.

        Raises ApiError, ServerUnreachable, ChecksumMismatch, UnsafePath, and FilesInTheWay where other files have their
        names, unless it is to `replace` them.
        """
        model = self.get(name)
        files = [
            RemoteFile(f"/v1/models/{model.model_id}/files/{quote(one.path)}", one.path, one.bytes, one.sha256)
            for one in model.files
        ]
        return fetch_all(self.transport, files, folder, on_progress, replace=replace)

    def classify(self, name: str, texts: Sequence[str | Mapping[str, str]]) -> Sequence[Classification]:
        """What a classifier says of each text (or {text, text_pair}). Raises ApiError."""
        body = {"texts": [text if isinstance(text, str) else dict(text) for text in texts]}
        answer = self.transport.post(f"/v1/models/{name}/classify", body, read_seconds=ANSWER_SECONDS)
        return [Classification.model_validate(one) for one in json_of(answer)["data"]]

    def delete(self, name: str) -> None:
        self.transport.delete(f"/v1/models/{name}")
