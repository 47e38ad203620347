"""Where a database stands and how it is brought forward. There is no way back: a downgrade would drop data."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from core.database import Database

# Any number serves, as long as every migrator of this database takes the same.
MIGRATION_LOCK = 721_405


class DatabaseBehind(Exception):
    """The database is not at the revision that this code was written for."""

    def __init__(self, found: str | None, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found, self.wanted = found, wanted

    def __str__(self) -> str:
        return f"the database is at revision {self.found}, this version needs {self.wanted}: run `python -m migrations`"


def upgrade(url: str) -> str:
    """Bring the database to the newest revision, which is returned. Two at once wait for each other."""
    database = Database(url)
    try:
        with database.engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            if not database.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            command.upgrade(_config(connection), "head")
        return newest()
    finally:
        database.close()


def newest() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def require_newest(database: Database) -> None:
    """Raise DatabaseBehind unless the database is at the newest revision."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != newest():
        raise DatabaseBehind(found, newest())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
