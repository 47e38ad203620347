"""Ids sort by the time they were made."""

from core.ids import make_id


def test_later_ids_sort_later_and_none_comes_twice() -> None:
    ids = [make_id("job") for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert {job_id[:4] for job_id in ids} == {"job_"}
    assert {len(job_id) for job_id in ids} == {36}
