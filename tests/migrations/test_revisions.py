"""Tables are made by migrations alone, forwards alone, and by one migrator at a time."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from core.database import Database
from core.tables import Row
from migrations import revisions
from migrations.revisions import DatabaseBehind, newest, require_newest, upgrade
from tests.core.rows import add_job, job_row


@pytest.fixture
def empty_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'empty.sqlite3'}"


def test_upgrading_again_changes_nothing(database: Database, database_url: str) -> None:
    job_id = add_job(database)
    assert upgrade(database_url) == newest()
    assert job_row(database, job_id).id == job_id
    require_newest(database)


def test_the_migrated_tables_are_the_tables_that_the_code_knows(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Row.metadata) == []


def test_two_migrators_at_once_both_come_through(database: Database, database_url: str) -> None:
    with database.engine.begin() as connection:
        Row.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(upgrade, [database_url] * 4)) == [newest()] * 4
    require_newest(database)
    assert set(inspect(database.engine).get_table_names()) == {*Row.metadata.tables, "alembic_version"}


def test_a_database_that_is_behind_is_told_the_command(empty_url: str) -> None:
    database = Database(empty_url)
    try:
        with pytest.raises(DatabaseBehind, match="run `python -m migrations`"):
            require_newest(database)
    finally:
        database.close()


def test_a_migration_that_fails_leaves_nothing_behind(database: Database, database_url: str) -> None:
    with database.engine.begin() as connection:
        Row.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
        # The last table that the first migration makes is in its way.
        connection.exec_driver_sql("CREATE TABLE checkpoints (id integer)")
    with pytest.raises(Exception, match="already exists"):
        upgrade(database_url)
    assert inspect(database.engine).get_table_names() == ["checkpoints"]


def test_there_is_no_way_back(database: Database) -> None:
    job_id = add_job(database)
    with database.engine.connect() as connection, pytest.raises(RuntimeError, match="backup"):
        command.downgrade(revisions._config(connection), "base")
    assert job_row(database, job_id).id == job_id


def test_revisions_stand_in_one_line() -> None:
    script = ScriptDirectory.from_config(revisions._config())
    assert len(script.get_heads()) == 1
    for revision in script.walk_revisions():
        assert len(revision.nextrev) <= 1
        assert import_module(f"migrations.versions.{Path(revision.path).stem}").__doc__


def test_the_command_migrates_what_the_settings_name(tmp_path: Path, empty_url: str) -> None:
    environment = {"DISTILL_DATABASE_URL": empty_url, "PATH": ""}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "migrations"], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"database at revision {newest()}\n"
