"""`python -m migrations`: bring the database to the newest revision."""

from core.settings import Settings
from migrations.revisions import upgrade

if __name__ == "__main__":
    print(f"database at revision {upgrade(Settings().database)}")  # noqa: T201 - this is its output
