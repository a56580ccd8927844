"""An asyncio program without a server: ids go to the file that it is given."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TextIO

import sentry_sdk

import resentry

PAUSE = 0.01


async def work(name: int, ids: TextIO, stopped: asyncio.Event) -> None:
    turn = 0
    while not stopped.is_set():
        ids.write(f"{sentry_sdk.capture_message(f'task {name}, turn {turn}')}\n")
        turn += 1
        await asyncio.sleep(PAUSE)


async def main(ids: TextIO) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    resentry.init(role="api")
    await asyncio.gather(*(work(name, ids, stopped) for name in range(3)))


if __name__ == "__main__":
    with open(sys.argv[1], "a", buffering=1) as file:
        asyncio.run(main(file))
