"""Secrets by name, such as a vendor's API key: written by their owner, read by that owner's jobs, shown to nobody."""

from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import SecretNameTaken, SecretNotFound
from core.ids import make_id
from core.pages import Cursor, Page, page_of
from core.sealing import Seal
from core.tables import Secret


@dataclass(frozen=True)
class Secrets:
    """One owner's secrets."""

    session: Session
    owner: str

    def add(self, seal: Seal, name: str, value: str, *, replace: bool = False) -> Secret:
        """Store a value under a name. Raises SecretNameTaken unless an earlier value may be replaced."""
        sealed = seal.sealed(self.owner, name, value)
        row = self.find(name)
        if row is None:
            row = Secret(id=make_id("secret"), owner=self.owner, name=name, sealed=sealed)
            self.session.add(row)
            self._flush(name)
        elif replace:
            changed = update(Secret).where(Secret.id == row.id).values(sealed=sealed, updated_at=database_now())
            self.session.execute(changed)
        else:
            raise SecretNameTaken(name)
        self.session.refresh(row)
        return row

    def _flush(self, name: str) -> None:
        try:
            self.session.flush()
        except IntegrityError:
            raise SecretNameTaken(name) from None  # another was quicker; the error itself would show what was sealed

    def find(self, name: str) -> Secret | None:
        query = select(Secret).where(Secret.owner == self.owner, Secret.name == name)
        return self.session.scalars(query).one_or_none()

    def get(self, reference: str) -> Secret:
        """Return the secret of that name or id. Raises SecretNotFound, also for another owner's."""
        named = or_(Secret.name == reference, Secret.id == reference)
        query = select(Secret).where(Secret.owner == self.owner, named)
        row = self.session.scalars(query.order_by((Secret.name == reference).desc()).limit(1)).one_or_none()
        if row is None:
            raise SecretNotFound(reference)
        return row

    def page(self, cursor: Cursor) -> Page[Secret]:
        return page_of(self.session, select(Secret).where(Secret.owner == self.owner), Secret, cursor)

    def delete(self, reference: str) -> Secret:
        """Forget a secret at once. A job that has not begun and names it will fail in words."""
        row = self.get(reference)
        self.session.execute(delete(Secret).where(Secret.id == row.id))
        return row

    def reveal(self, seal: Seal, name: str) -> str:
        """Return the value. Raises SecretNotFound, SecretUnreadable."""
        row = self.find(name)
        if row is None:
            raise SecretNotFound(name)
        return seal.opened(self.owner, name, row.sealed)
