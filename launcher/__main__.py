"""`python -m launcher`: the whole service on this machine, as one process tree. `distill up` is this."""

import argparse
import sys
from pathlib import Path

from core.settings import Settings
from launcher.stopping import StopRequest
from launcher.tree import FolderInUse, Tree


def main() -> int:
    settings = Settings()
    parser = argparse.ArgumentParser(
        prog="distill up", description="Run the whole service here; Ctrl-C stops all of it."
    )
    parser.add_argument(
        "--host", default=settings.host, help="address to bind; another than 127.0.0.1 needs an API key"
    )
    parser.add_argument("--port", type=int, default=settings.port, help="port to bind; 0 takes a free one")
    parser.add_argument("--data", type=Path, default=settings.data, help="folder for database, files and logs")
    parser.add_argument("--workers", type=int, default=1, help="jobs that train at the same time")
    parser.add_argument("--ready-file", type=Path, help="write url and pid here as JSON once the service answers")
    parser.add_argument(
        "--until-stdin-ends", action="store_true", help="stop when the process that started this is gone"
    )
    chosen = parser.parse_args()
    should_stop = StopRequest(until_stdin_ends=chosen.until_stdin_ends)
    tree = Tree(
        chosen.host, chosen.port, chosen.data.resolve(), chosen.workers, chosen.ready_file, settings, should_stop
    )
    try:
        return tree.run()
    except FolderInUse as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1


if __name__ == "__main__":
    sys.exit(main())
