"""An owner's data sets, kept for as long as a job needs them."""

import threading

import pytest

from core.database import Database
from core.datasets import Datasets, examples_blob
from core.errors import DatasetInUse, DatasetNotFound
from core.jobs import Jobs
from core.pages import Cursor
from tests.core.rows import OWNER, add_job, dataset_row, spec_of


def added(database: Database, owner: str = OWNER) -> str:
    with database.write() as session:
        dataset_id = Datasets(session, owner).add(dataset_row(owner)).id
        session.commit()
    return dataset_id


def test_a_data_set_is_its_owners_alone(database: Database) -> None:
    mine, others = added(database), added(database, "other")
    with database.read() as session:
        datasets = Datasets(session, OWNER)
        assert datasets.get(mine).id == mine
        assert [dataset.id for dataset in datasets.page(Cursor()).rows] == [mine]
        for verb in (datasets.get, datasets.delete):
            with pytest.raises(DatasetNotFound):
                verb(others)


def test_a_data_set_goes_when_no_job_needs_it(database: Database) -> None:
    dataset_id = added(database)
    job_id = add_job(database, dataset=dataset_id)
    with database.write() as session:
        with pytest.raises(DatasetInUse) as refused:
            Datasets(session, OWNER).delete(dataset_id)
        assert refused.value.args == (dataset_id, job_id)
        Jobs(session, OWNER).cancel(job_id)
        Datasets(session, OWNER).delete(dataset_id)
        session.commit()
    with database.read() as session, pytest.raises(DatasetNotFound):
        Datasets(session, OWNER).get(dataset_id)


def test_a_data_set_does_not_go_while_a_job_that_reads_it_is_accepted(database: Database) -> None:
    """Two transactions at once: the later one must see what the earlier one has done."""
    dataset_id, refused = added(database), []

    def delete() -> None:
        with database.write() as session:
            try:
                Datasets(session, OWNER).delete(dataset_id)
                session.commit()
            except DatasetInUse as error:
                refused.append(error)

    with database.write() as session:
        Datasets(session, OWNER).get(dataset_id, hold="from_going")
        deleting = threading.Thread(target=delete)
        deleting.start()
        deleting.join(0.5)  # long enough to look, and to go ahead if nothing holds it
        Jobs(session, OWNER).add(spec_of(dataset=dataset_id), None, [])
        session.commit()
    deleting.join()
    assert refused
    with database.read() as session:
        assert Datasets(session, OWNER).get(dataset_id).id == dataset_id


def test_a_worker_fetches_the_typed_examples_and_not_the_upload() -> None:
    row = dataset_row()
    assert (examples_blob(row).key, examples_blob(row).bytes) == (row.examples_key, row.examples_bytes)


def test_a_data_set_in_an_owners_name_is_added_by_that_owner(database: Database) -> None:
    with database.write() as session, pytest.raises(AssertionError):
        Datasets(session, OWNER).add(dataset_row("other"))


def test_what_a_job_made_is_found_by_it_and_replaced_by_its_next_attempt(database: Database) -> None:
    added(database)
    first, later = dataset_row(derived_from="job_1"), dataset_row(derived_from="job_1")
    later.id, later.examples_key = first.id, "later"
    found = []
    for row in (first, later):
        with database.write() as session:
            found.append(Datasets(session, OWNER).put(row))
            session.commit()
    assert found == [True, False]
    with database.read() as session:
        datasets = Datasets(session, OWNER)
        assert [row.examples_key for row in datasets.page(Cursor(), derived_from="job_1").rows] == ["later"]
        assert len(datasets.page(Cursor()).rows) == 2
        assert Datasets(session, "other").page(Cursor(), derived_from="job_1").rows == []
