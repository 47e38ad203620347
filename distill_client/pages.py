"""Lists that come in pages, walked as if they came whole."""

from collections.abc import Iterator, Mapping
from typing import Any

from distill_client.shapes import Page, ShapeT
from distill_client.transport import Transport, json_of

PAGE_LIMIT = 100


def walk(
    transport: Transport,
    path: str,
    shape: type[ShapeT],
    limit: int | None = None,
    params: Mapping[str, Any] | None = None,
) -> Iterator[ShapeT]:
    """Yield the list's items, at most `limit` of them, fetching a page when it is needed."""
    after: str | None = None
    left = limit
    while left is None or left > 0:
        wanted = PAGE_LIMIT if left is None else min(left, PAGE_LIMIT)
        answer = json_of(transport.get(path, {**(params or {}), "limit": wanted, "after": after}))
        page = Page[shape].model_validate(answer)  # type: ignore[valid-type] # a class at run time, which pydantic takes
        yield from page.data
        if not page.has_more or not page.data:
            return
        after = page.last_id
        left = None if left is None else left - len(page.data)
