"""1,000 simulated agents: how soon `resentry-agent fleet` has judged what they all run.

Part of `make bench-fleet`. The whole command is measured, with its start. The agents are
one process of this machine, which takes its share of the CPUs: in a cluster they are
elsewhere. Each has an address of its own, and answers what an agent with four processes
answers. Some accept the connection and say nothing, as a pod that hangs.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agent.domain.summary import PodProcess, Summary, encode_summary
from bench.fleet import rounded
from bench.report import Section, measured, table, write
from lab.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.synchronize import Event

PODS = 1000
SILENT = (0, 100)
ROUNDS = 3
LIMIT_SECONDS = 5.0
"""So soon the table of all pods must be judged."""

ROWS = {
    "seconds": "until the table is judged (s)",
    "cpu_seconds": "CPU of the command (s)",
    "named": "pods that are named as silent",
}

Figures = dict[str, Any]

SECTIONS = (
    Section(
        "pods",
        f"`resentry-agent fleet` judges {PODS:,} pods",
        "The whole command, with its start, on the machine that also plays the agents.",
        {f"of them silent: {silent}": f"silent/{silent}/{{}}" for silent in SILENT},
        ROWS,
    ),
)


def measure() -> dict[str, Figures]:
    """Return the figures by the number of pods that say nothing; the worst of each."""
    return {str(silent): _measure(silent) for silent in SILENT}


def slow(found: dict[str, Figures]) -> list[str]:
    """Say of each number of silent pods that took too long how long it took."""
    return [
        f"{PODS} pods, {silent} of them silent: {figures['seconds']:.1f} s"
        for silent, figures in found.items()
        if figures["seconds"] > LIMIT_SECONDS
    ]


def _measure(silent: int) -> Figures:
    with _agents(silent) as urls:
        rounds = [_fleet(urls, silent) for _ in range(ROUNDS)]
    return {row: max(each[row] for each in rounds) for row in ROWS}


def _fleet(urls: Sequence[str], silent: int) -> Figures:
    """Run the command once; what it says must be right."""
    began = time.monotonic()
    command = subprocess.Popen(
        [sys.executable, "-m", "agent", "fleet", "--json"],
        env={**os.environ, "RESENTRY_FLEET": ",".join(urls)},
        stdout=subprocess.PIPE,
    )
    printed = command.stdout.read() if command.stdout else b""
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    result = json.loads(printed)["result"]
    named = sum(bool(pod["error"]) for pod in result["pods"])
    if (command.returncode, named) != (bool(silent), silent):
        raise RuntimeError(f"fleet exited with {command.returncode}: {named} silent")
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "named": named,
    }


@contextmanager
def _agents(silent: int) -> Iterator[list[str]]:
    port, ready = free_port(), multiprocessing.Event()
    hosts = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(PODS)]
    server = multiprocessing.Process(
        target=_serve, args=(hosts, port, silent, ready), daemon=True
    )
    server.start()
    try:
        if not ready.wait(60):
            raise RuntimeError("the simulated agents have not started")
        yield [f"http://{host}:{port}" for host in hosts]
    finally:
        server.terminate()
        server.join()


def _serve(hosts: Sequence[str], port: int, silent: int, ready: Event) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_listen(hosts, port, silent, ready))


async def _listen(hosts: Sequence[str], port: int, silent: int, ready: Event) -> None:
    body = encode_summary(_summary())
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    )

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client has gone
        writer.close()

    for number, host in enumerate(hosts):
        await asyncio.start_server(hang if number < silent else say, host, port)
    ready.set()
    await asyncio.Event().wait()


def _summary() -> Summary:
    """Return what an agent with four processes tells."""
    dsn = "a1b2c3d4e5f6"
    processes = tuple(
        PodProcess(
            role="api" if pid < 3 else "celery",
            pid=pid,
            state="drained",
            runs=dsn,
            library="0.1.0",
            proves=True,
        )
        for pid in range(1, 5)
    )
    tally = {"accepted": 123456, "dropped": 0, "rejected": 0, "lost": 0}
    return Summary(
        agent="0.1.0",
        processes=processes,
        is_complete=True,
        revision="3f9a1c2b7d04",
        sequence=42,
        dsns={"": dsn},
        tally=tally,
    )


def main() -> None:
    """Measure, print, write; exit 1 if a table is late."""
    found = measure()
    heads = {f"of {PODS} pods silent: {silent}": each for silent, each in found.items()}
    print(table(heads, ROWS))
    conditions = measured(pods=PODS, worst_of=ROUNDS, limit_seconds=LIMIT_SECONDS)
    write("pods", {"measured": conditions, "silent": rounded(found)})
    if late := slow(found):
        sys.exit(f"later than after {LIMIT_SECONDS:g} s: {'; '.join(late)}")


if __name__ == "__main__":
    main()
