"""A key opens until it is revoked or expired, by the database's clock, and nobody can read it again."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from core.api_keys import any_key, digest_of, issue, keys_page, recognise, revoke
from core.clock import database_now
from core.database import Database
from core.errors import ApiKeyNotFound
from core.pages import Cursor
from core.tables import ApiKey


def test_a_key_is_recognised_and_only_its_digest_is_kept(database: Database) -> None:
    with database.write() as session:
        assert not any_key(session)
        issued = issue(session, "me", "laptop", ["read"])
        session.commit()
    with database.read() as session:
        found = recognise(session, issued.secret)
        assert found is not None
        assert (found.owner, found.scopes, found.id) == ("me", ["read"], issued.row.id)
        assert any_key(session)
        kept = [str(getattr(found, column.key)) for column in ApiKey.__table__.columns]
    assert issued.secret.startswith("dk_")
    assert len(issued.secret) >= 43
    assert not any(issued.secret in value for value in kept)
    assert issued.secret[3:] not in found.hint


def test_no_two_keys_are_alike(database: Database) -> None:
    with database.write() as session:
        assert len({issue(session, "me", "k").secret for _ in range(50)}) == 50


@pytest.mark.parametrize("wrong", ["", "dk_", "dk_wrong", "' OR 1=1 --"])
def test_another_secret_opens_nothing(database: Database, wrong: str) -> None:
    with database.write() as session:
        issued = issue(session, "me", "laptop")
        assert recognise(session, wrong) is None
        assert recognise(session, issued.secret + " ") is None
        assert recognise(session, issued.row.digest) is None


def test_an_expired_key_opens_nothing_whatever_this_machines_clock_says(database: Database) -> None:
    with database.write() as session:
        issued = issue(session, "me", "laptop", expires_at=datetime.now(UTC) + timedelta(hours=1))
        assert recognise(session, issued.secret) is not None
        for offset_seconds, opens in ((-0.5, False), (60.0, True)):
            session.execute(update(ApiKey).values(expires_at=database_now(offset_seconds)))
            assert (recognise(session, issued.secret) is not None) is opens


def test_a_revoked_key_opens_nothing_and_authentication_stays_on(database: Database) -> None:
    with database.write() as session:
        issued = issue(session, "me", "laptop")
        for _ in range(2):
            revoke(session, issued.row.id)
        assert recognise(session, issued.secret) is None
        assert any_key(session)
        with pytest.raises(ApiKeyNotFound):
            revoke(session, "key_none")


def test_keys_are_listed_by_owner_or_all(database: Database) -> None:
    with database.write() as session:
        mine, others = issue(session, "me", "a").row.id, issue(session, "other", "b").row.id
        assert [key.id for key in keys_page(session, "me", Cursor()).rows] == [mine]
        assert [key.id for key in keys_page(session, None, Cursor(order="asc")).rows] == [mine, others]


def test_a_given_secret_is_taken_as_it_is(database: Database) -> None:
    with database.write() as session:
        issued = issue(session, "admin", "bootstrap", secret="dk_given")
        assert (issued.secret, issued.row.digest) == ("dk_given", digest_of("dk_given"))
        assert recognise(session, "dk_given") is not None
