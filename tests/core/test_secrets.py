"""A secret belongs to its owner, and the row shows nothing of it."""

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from core.database import Database
from core.errors import SecretNameTaken, SecretNotFound, SecretUnreadable
from core.sealing import Seal
from core.secrets import Secrets

SEAL = Seal([Fernet.generate_key().decode()])


def test_a_secrets_life(database: Database) -> None:
    with database.write() as session:
        mine = Secrets(session, "me")
        row = mine.add(SEAL, "vendor", "sk-one")
        with pytest.raises(SecretNameTaken):
            mine.add(SEAL, "vendor", "sk-two")
        assert mine.reveal(SEAL, "vendor") == "sk-one"
        again = mine.add(SEAL, "vendor", "sk-two", replace=True)
        assert again.id == row.id
        assert mine.reveal(SEAL, "vendor") == "sk-two"
        session.commit()
    with database.read() as session:
        (stored,) = session.execute(text("SELECT * FROM secrets")).all()
        assert not any("sk-" in str(cell) for cell in stored)
        assert Secrets(session, "me").get(row.id).name == "vendor"
    with database.write() as session:
        assert Secrets(session, "me").delete("vendor").id == row.id
        with pytest.raises(SecretNotFound):
            Secrets(session, "me").reveal(SEAL, "vendor")


def test_another_owner_sees_none_of_it(database: Database) -> None:
    with database.write() as session:
        row = Secrets(session, "me").add(SEAL, "vendor", "sk-mine")
        yours = Secrets(session, "you")
        for reference in ("vendor", row.id):
            with pytest.raises(SecretNotFound):
                yours.get(reference)
            with pytest.raises(SecretNotFound):
                yours.delete(reference)
        assert yours.find("vendor") is None
        assert yours.add(SEAL, "vendor", "sk-yours").id != row.id
        assert Secrets(session, "me").reveal(SEAL, "vendor") == "sk-mine"


def test_a_row_that_was_given_to_another_owner_does_not_open(database: Database) -> None:
    with database.write() as session:
        Secrets(session, "me").add(SEAL, "vendor", "sk-mine")
        session.execute(text("UPDATE secrets SET owner = 'you'"))
        with pytest.raises(SecretUnreadable):
            Secrets(session, "you").reveal(SEAL, "vendor")
