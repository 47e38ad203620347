"""Keyset pages: the ten-thousandth costs what the first one costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session

from core.tables import ApiKey, Checkpoint, Dataset, Job, Model, Secret, Sweep

Order = Literal["asc", "desc"]


RowT = TypeVar("RowT", Job, Dataset, Model, ApiKey, Checkpoint, Secret, Sweep)


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: behind the row with the id `after`, or at the beginning."""

    after: str | None = None
    limit: int = 20
    order: Order = "desc"


@dataclass(frozen=True)
class Page(Generic[RowT]):
    rows: Sequence[RowT]
    has_more: bool


def page_of(session: Session, query: Select[RowT], row: type[RowT], cursor: Cursor) -> Page[RowT]:
    """Run `query` from the cursor on. Ids sort by time, so order by id is order by age."""
    if cursor.after is not None:
        query = query.where(row.id > cursor.after if cursor.order == "asc" else row.id < cursor.after)
    query = query.order_by(row.id.asc() if cursor.order == "asc" else row.id.desc()).limit(cursor.limit + 1)
    rows = session.scalars(query).all()
    return Page(rows[: cursor.limit], has_more=len(rows) > cursor.limit)
