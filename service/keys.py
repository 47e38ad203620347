"""`python -m service.keys create --owner NAME`: the first key, or any other, without a running service."""

import argparse
import sys

from core.api_keys import ALL_SCOPES, issue
from core.database import Database
from core.settings import Settings
from migrations.revisions import DatabaseBehind, require_newest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m service.keys", description=__doc__)
    create = parser.add_subparsers(required=True).add_parser("create", help="make a key and print it once")
    create.add_argument("--owner", required=True, help="whose jobs, data sets and models the key sees")
    create.add_argument("--name", default="command line", help="what the key is for")
    create.add_argument("--scope", nargs="+", choices=ALL_SCOPES, default=list(ALL_SCOPES), help="what it may do")
    wanted = parser.parse_args(arguments)
    database = Database(Settings().database)
    try:
        require_newest(database)
        with database.write() as session:
            issued = issue(session, wanted.owner, wanted.name, wanted.scope)
            session.commit()
    except DatabaseBehind as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    finally:
        database.close()
    print(issued.secret)  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
