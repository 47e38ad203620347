"""API keys as the contract shows them: the secret once."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from core.api_keys import Scope
from core.tables import ApiKey
from service.moments import IN_UTC

Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,95}$")]


class ApiKeySpec(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    owner: Owner | None = Field(None, description="Whose jobs and models it sees; your own when absent.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = ["read", "write"]
    expires_at: Annotated[AwareDatetime, IN_UTC] | None = None


class ApiKeyOut(BaseModel):
    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    owner: str
    hint: str = Field(description="The secret's first characters.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class IssuedKeyOut(ApiKeyOut):
    secret: str | None = Field(description="The key itself, in the first answer only; a replayed one has null.")


def api_key_out(row: ApiKey) -> ApiKeyOut:
    return ApiKeyOut.model_validate(row, from_attributes=True)
