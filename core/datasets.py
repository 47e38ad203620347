"""Data sets: rows that the service writes and a worker reads."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.blobs import Stored
from core.database import Hold, held
from core.errors import DatasetInUse, DatasetNotFound
from core.jobs import active_job_using
from core.pages import Cursor, Page, page_of
from core.tables import Dataset


@dataclass(frozen=True)
class Datasets:
    """One owner's data sets."""

    session: Session
    owner: str

    def add(self, dataset: Dataset) -> Dataset:
        assert dataset.owner == self.owner
        self.session.add(dataset)
        self.session.flush()
        self.session.refresh(dataset)
        return dataset

    def put(self, dataset: Dataset) -> bool:
        """Add a data set, or replace the one of the same id. Returns whether it is the first."""
        assert dataset.owner == self.owner
        is_first = self.session.get(Dataset, dataset.id) is None
        self.session.merge(dataset)
        self.session.flush()
        return is_first

    def get(self, dataset_id: str, hold: Hold | None = None) -> Dataset:
        """Return the data set. Raises DatasetNotFound, also for another owner's."""
        query = select(Dataset).where(Dataset.id == dataset_id, Dataset.owner == self.owner)
        dataset = self.session.scalars(held(query, hold)).one_or_none()
        if dataset is None:
            raise DatasetNotFound(dataset_id)
        return dataset

    def page(self, cursor: Cursor, derived_from: str | None = None) -> Page[Dataset]:
        """Return a page of them; with `derived_from`, of those that a job made."""
        query = select(Dataset).where(Dataset.owner == self.owner)
        if derived_from is not None:
            query = query.where(Dataset.derived_from == derived_from)
        return page_of(self.session, query, Dataset, cursor)

    def delete(self, dataset_id: str) -> Dataset:
        """Forget a data set that no active job needs, and return it. The caller sees to its files."""
        dataset = self.get(dataset_id, hold="to_delete")
        job_id = active_job_using(self.session, dataset_id=dataset_id)
        if job_id is not None:
            raise DatasetInUse(dataset_id, job_id)
        self.session.delete(dataset)
        return dataset


def folder_of(dataset: Dataset) -> str:
    """Return where its files are. What a job makes has a folder for each attempt."""
    return dataset.content_key.rpartition("/")[0]


def examples_blob(dataset: Dataset) -> Stored:
    """The typed examples, as a worker fetches them."""
    return Stored(dataset.examples_key, dataset.examples_bytes, dataset.examples_sha256)
