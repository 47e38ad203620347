"""`python -m serving`: runs models for the service, which starts one of its own unless DISTILL_SERVING_URL is set."""

import argparse
import gc
import json
import os
import sys
import threading

from core.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK[0], help="address to bind; another than loopback needs a token")
    parser.add_argument("--port", type=int, default=8100, help="port to bind; 0 takes a free one")
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="take token and settings from stdin as one line of JSON, write the port to stdout, end when idle or when "
        "stdin ends",
    )
    chosen = parser.parse_args()
    if chosen.embedded:
        return _embedded()
    settings = Settings()
    token = settings.serving_token.get_secret_value() if settings.serving_token is not None else None
    if token is None and chosen.host not in LOOPBACK:
        print(f"error: {chosen.host} can be reached by others: set DISTILL_SERVING_TOKEN", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    return _run(settings, token, chosen.host, chosen.port, is_embedded=False)


def _embedded() -> int:
    given = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    return _run(Settings(**given["settings"]), given["token"], LOOPBACK[0], 0, is_embedded=True)


def _run(settings: Settings, token: str | None, host: str, port: int, *, is_embedded: bool) -> int:
    # Here, because torch takes seconds: what cannot start says so at once, and who is not needed any more ends at once.
    # What is imported stays: to look for garbage among it, again and again while it grows, is a sixth of the time.
    gc.disable()
    from serving.server import run

    gc.freeze()
    gc.enable()
    run(settings, token, host, port, is_embedded=is_embedded)
    return 0


def end_with_stdin() -> None:
    """Exit at once when the other end of our stdin is gone, and with it the service. Blocks until then."""
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    code = main()
    # Threads that still write would hold the exit up; there is nothing that they could lose.
    os._exit(code)
