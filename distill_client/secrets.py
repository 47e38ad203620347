"""`/v1/secrets`: values that jobs use by name. They go in and never come out."""

from collections.abc import Iterator

from distill_client.pages import walk
from distill_client.shapes import Json, Secret
from distill_client.transport import Transport, json_of


class Secrets:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def add(self, name: str, value: str, *, replace: bool = False) -> Secret:
        """Store a value under a name. Raises ApiError, also where the name is taken and `replace` is not said."""
        body: Json = {"name": name, "value": value} | ({"replace": True} if replace else {})
        return Secret.model_validate(json_of(self.transport.post("/v1/secrets", body)))

    def list(self, limit: int | None = None) -> Iterator[Secret]:
        return walk(self.transport, "/v1/secrets", Secret, limit)

    def remove(self, name: str) -> None:
        self.transport.delete(f"/v1/secrets/{name}")
