"""`/v1/api-keys`, for administrators."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from distill_client.pages import walk
from distill_client.shapes import ApiKey, Json
from distill_client.transport import Transport, json_of


class Keys:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def create(
        self,
        name: str,
        scopes: Sequence[str] | None = None,
        owner: str | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """Make a key. Its secret is in this answer and nowhere else."""
        body: Json = {"name": name}
        body |= {"scopes": list(scopes)} if scopes else {}
        body |= {"owner": owner} if owner else {}
        body |= {"expires_at": expires_at.isoformat()} if expires_at else {}
        return ApiKey.model_validate(json_of(self.transport.post("/v1/api-keys", body)))

    def list(self, limit: int | None = None) -> Iterator[ApiKey]:
        return walk(self.transport, "/v1/api-keys", ApiKey, limit)

    def revoke(self, key_id: str) -> None:
        self.transport.delete(f"/v1/api-keys/{key_id}")
