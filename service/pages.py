"""Lists on the wire: a cursor out of the query, a page into the answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from core.errors import NotFound
from core.pages import Cursor, Order, RowT
from service.errors import UnknownCursor

ItemT = TypeVar("ItemT", bound=BaseModel)
After = Annotated[str | None, Query(description="The last_id of the page before.", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=100)]


class PageOut(BaseModel, Generic[ItemT]):
    object: Literal["list"] = "list"
    data: list[ItemT]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_out(items: Sequence[ItemT], ids: Sequence[str], has_more: bool) -> PageOut[ItemT]:
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return PageOut(data=list(items), first_id=first, last_id=last, has_more=has_more)


async def _newest_first(after: After = None, limit: Limit = 20, order: Order = "desc") -> Cursor:
    return Cursor(after, limit, order)


async def _oldest_first(after: After = None, limit: Limit = 20, order: Order = "asc") -> Cursor:
    return Cursor(after, limit, order)


CursorDep = Annotated[Cursor, Depends(_newest_first)]
AscendingDep = Annotated[Cursor, Depends(_oldest_first)]


def known_cursor(cursor: Cursor, get: Callable[[str], RowT]) -> Cursor:
    """Return the cursor behind the id of the row that `get` finds: some rows go by a name too, but no order does.

    Raises UnknownCursor.
    """
    if cursor.after is None:
        return cursor
    try:
        return replace(cursor, after=get(cursor.after).id)
    except NotFound:
        raise UnknownCursor(cursor.after) from None
