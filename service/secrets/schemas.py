"""Secrets as the contract shows them: never their values."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from core.references import Name
from core.tables import Secret

MOST_CHARACTERS = 4096


def _fits_a_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 1 <= len(text) <= MOST_CHARACTERS or not all("!" <= character <= "~" for character in text):
        raise PydanticCustomError(
            "invalid_secret", f"a value is 1 to {MOST_CHARACTERS:,} visible ASCII characters without spaces"
        )
    return value


class SecretSpec(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    value: Annotated[
        SecretStr,
        Field(description="Such as a vendor's API key. It is stored encrypted and never shown again."),
        AfterValidator(_fits_a_header),
    ]
    replace: bool = Field(False, description="Whether an earlier value of this name may be replaced.")


class SecretOut(BaseModel):
    id: str
    object: Literal["secret"] = "secret"
    name: str
    created_at: datetime
    updated_at: datetime


def secret_out(row: Secret) -> SecretOut:
    return SecretOut.model_validate(row, from_attributes=True)
