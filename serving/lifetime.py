"""How long a serving process lives: not longer than it is needed, nor once it is stuck."""

import asyncio
import os
import time
from collections.abc import Callable

import structlog

from serving.app import Serving

log = structlog.get_logger()

LOOK_SECONDS = 0.5
STUCK = 70
"""Exit code of a process that ended because its work did not move."""


async def watch(serving: Serving, end: Callable[[], None] | None) -> None:
    """Let unused models go; call `end` once nothing was asked for long; exit at once where work is stuck.

    Work may be stuck in a chat template, which is a program of the model's author: no thread can be ended from outside,
    but a process can, and the next request starts another one.
    """
    settings = serving.settings
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        serving.residents.leave_unused(settings.serving_idle_seconds)
        if serving.turns.stalled(settings.stall_seconds):
            log.error("work is stuck; this serving process ends", seconds=settings.stall_seconds)
            os._exit(STUCK)
        idle_seconds = time.monotonic() - serving.turns.idle_since
        if end is not None and not serving.turns.present and idle_seconds > settings.serving_idle_seconds:
            end()
            return
