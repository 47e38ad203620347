"""Moments as requests write them: in UTC where they name no zone."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError


def _in_utc(written: datetime) -> datetime:
    if written.tzinfo is None:
        return written.replace(tzinfo=UTC)
    try:
        return written.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("invalid_value", "a moment lies in the years 1 to 9999 of UTC") from None


IN_UTC = AfterValidator(_in_utc)
Moment = Annotated[datetime, IN_UTC]
