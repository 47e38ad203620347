"""All pages together are all rows, each once, in both orders, also while rows come and go."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from core.database import Database
from core.ids import make_id
from core.pages import Cursor, Order, page_of
from core.tables import Job
from tests.core.rows import add_job


def every_page(database: Database, owner: str, limit: int, order: Order) -> list[list[str]]:
    pages: list[list[str]] = []
    after = None
    while True:
        with database.read() as session:
            page = page_of(session, select(Job).where(Job.owner == owner), Job, Cursor(after, limit, order))
        ids = [job.id for job in page.rows]
        if ids:
            pages.append(ids)
            after = ids[-1]
        if not page.has_more:
            return pages


@given(total=st.integers(0, 12), limit=st.integers(1, 13), order=st.sampled_from(["asc", "desc"]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_union_of_pages_is_all_and_no_row_comes_twice(
    database: Database, total: int, limit: int, order: Order
) -> None:
    owner = make_id("key")
    ids = [add_job(database, owner) for _ in range(total)]
    pages = every_page(database, owner, limit, order)
    assert [job_id for page in pages for job_id in page] == (ids if order == "asc" else ids[::-1])
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages) == -(-total // limit)


@pytest.mark.parametrize(("order", "newcomers"), [("asc", 1), ("desc", 0)])
def test_a_row_that_comes_meanwhile_moves_no_other(database: Database, order: Order, newcomers: int) -> None:
    ids = [add_job(database) for _ in range(4)]
    with database.read() as session:
        first = page_of(session, select(Job), Job, Cursor(None, 2, order)).rows
    add_job(database)
    with database.read() as session:
        rest = page_of(session, select(Job), Job, Cursor(first[-1].id, 20, order)).rows
    assert {job.id for job in first} | {job.id for job in rest} >= set(ids)
    assert len(first) + len(rest) == len(ids) + newcomers
