"""How a spec names things: by a name, an id or org/name, never by a path."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from core.methods import Frozen

REFERENCE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


def _no_dots(reference: str) -> str:
    if ".." in reference:
        raise PydanticCustomError("invalid_reference", "a reference is a name, an id or org/name, never a path")
    return reference


ModelReference = Annotated[str, StringConstraints(pattern=REFERENCE), AfterValidator(_no_dots)]
Name = Annotated[str, StringConstraints(pattern=NAME), AfterValidator(_no_dots)]


class Nameable(Frozen):
    """A part of the spec that may be written as just its name: `"x"` means `{<name field>: "x"}`."""

    name_field: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, written: Any) -> Any:
        return {cls.name_field: written} if isinstance(written, str) else written

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler(schema)
        return {"anyOf": [{"type": "string", "pattern": REFERENCE}, whole]} if handler.mode == "validation" else whole
