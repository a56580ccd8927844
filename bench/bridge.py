"""What the bridge takes: 300 webhooks a second, each on the disk before it is acknowledged.

Run by `make bench-bridge`. Each webhook comes over a connection of its own, as Sentry's do.
Prints the figures, beside those of the disk alone; writes bench/results/bridge.json; exits
1 if the rate was not kept, if the 99th percentile of the acknowledgement is above 50 ms and
above that of three fsyncs of this disk, or if the memory grew by more than 8 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench import proc, report
from lab import bridge as sentry
from lab.bridge import Bridge
from lab.receiver import Receiver

RATE = 300
SECONDS = 30
LIMIT_MS = 50.0
GROWTH_MIB = 8.0
FRAMES = 60
"""An event with so many frames has the size that events have: 32 KiB."""
AT_ONCE = 32
RESULTS = Path(__file__).parent / "results" / "bridge.json"


class Took(NamedTuple):
    """What one webhook took, and how it was answered."""

    ms: float
    status: int


SECTIONS = (
    report.Section(
        "bridge",
        "What the bridge takes",
        "Webhooks at a steady rate, each over a connection of its own, each on the disk "
        "before it is acknowledged.",
        {"bridge": "figures/{}", "goal": "limits/{}"},
        {
            "rate": "webhooks a second",
            "not_acknowledged": "webhooks without an acknowledgement",
            "acknowledge_ms": "acknowledgement (ms)",
            "fsync_ms": "one fsync of this disk (ms)",
            "most_per_second": "most webhooks a second, 32 senders",
            "cores": "processors in use",
            "rss_mib": "RSS (MiB)",
            "growth_mib": "growth of RSS (MiB)",
        },
    ),
)


def fsync_ms(folder: Path, number: int = 300) -> list[float]:
    """Return what an fsync of one page takes on this disk, in milliseconds."""
    took = []
    file = os.open(folder / "page", os.O_CREAT | os.O_WRONLY)
    for place in range(number):
        os.pwrite(file, os.urandom(4096), 4096 * place)
        began = time.perf_counter()
        os.fsync(file)
        took.append(1000 * (time.perf_counter() - began))
    os.close(file)
    return took


def body(number: int) -> bytes:
    """Return an event of one of 1,000 issues, with frames as an event has them."""
    frame = {
        "abs_path": "/srv/lms/lms/views/enrolment.py",
        "context_line": "        return self.enrol(student, course)",
        "filename": "lms/views/enrolment.py",
        "function": "submit",
        "in_app": True,
        "lineno": 214,
        "module": "lms.views.enrolment",
        "post_context": ["", "    def enrol(self, student, course):"],
        "pre_context": ["    def submit(self, request, course):", "        check()"],
        "vars": {"course": "42", "request": "<Request>", "self": "<Enrolment object>"},
    }
    error = {
        "type": "ValueError",
        "value": "x",
        "stacktrace": {"frames": [frame] * FRAMES},
    }
    payload = sentry.event_alert(str(number % 1000), exception={"values": [error]})
    return json.dumps(payload, separators=(",", ":")).encode()


async def send(host: str, port: int, sent: bytes) -> Took:
    """Send one webhook over a new connection, and wait for the answer."""
    fields = sentry.headers("event_alert", sent) | {
        "Host": f"{host}:{port}",
        "Content-Length": str(len(sent)),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    began, status = time.perf_counter(), 0
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"POST /sentry HTTP/1.1\r\n{head}\r\n".encode() + sent)
        if line := await reader.readline():
            status = int(line.split()[1])
        writer.close()
    return Took(1000 * (time.perf_counter() - began), status)


async def steadily(host: str, port: int, seconds: float) -> list[Took]:
    """Send at the rate, whatever the answers take."""
    began, sending = time.perf_counter(), []
    for number in range(int(RATE * seconds)):
        left = began + number / RATE - time.perf_counter()
        await asyncio.sleep(max(0.0, left))
        sending.append(asyncio.create_task(send(host, port, body(number))))
    return list(await asyncio.gather(*sending))


async def at_most(host: str, port: int, number: int) -> float:
    """Return the webhooks per second, if each sender waits only for its answer."""
    bodies = iter([body(each) for each in range(number)])

    async def sender() -> None:
        for each in bodies:
            await send(host, port, each)

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return number / (time.perf_counter() - began)


def measure(folder: Path, seconds: float) -> dict[str, Any]:
    """Run a bridge, and return its figures."""
    disk = fsync_ms(folder)
    with (
        Receiver() as receiver,
        Bridge(folder / "bridge", [f"http://{receiver.address}"]) as bridge,
    ):
        at = urlsplit(bridge.url)
        host, port = at.hostname or "", at.port or 0
        report.say("as many as it takes")
        most = asyncio.run(at_most(host, port, 3000))
        before = proc.memory(bridge.pid).rss
        used = proc.usage(bridge.pid).cpu_ns
        report.say(f"{RATE} webhooks a second for {seconds:g} s")
        began = time.perf_counter()
        took = asyncio.run(steadily(host, port, seconds))
        lasted = time.perf_counter() - began
        cpu = (proc.usage(bridge.pid).cpu_ns - used) / 1e9 / lasted
        after = proc.memory(bridge.pid).rss
        good = [each.ms for each in took if each.status == 202]
        return {
            "body_bytes": len(body(1)),
            "rate": round(len(good) / lasted, 1),
            "not_acknowledged": len(took) - len(good),
            "acknowledge_ms": report.spread(good),
            "fsync_ms": report.spread(disk + fsync_ms(folder)),
            "most_per_second": round(most, 1),
            "cores": round(cpu, 3),
            "rss_mib": round(after / 1024, 1),
            "growth_mib": round((after - before) / 1024, 1),
            "posts": len(receiver.requests),
        }


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=f"bench-{uuid.uuid4().hex[:6]}-") as folder:
        figures = measure(Path(folder), given.seconds)
    print(json.dumps(figures, indent=1))
    found = {
        "measured": report.measured(load="one connection for each webhook"),
        "limits": {"rate": RATE, "p99_ms": LIMIT_MS, "growth_mib": GROWTH_MIB},
        "figures": figures,
    }
    report.write("bridge", found)
    bound = max(LIMIT_MS, 3 * figures["fsync_ms"]["p99"])
    return int(
        figures["not_acknowledged"] > 0
        or figures["rate"] < 0.97 * RATE
        or figures["acknowledge_ms"]["p99"] > bound
        or figures["growth_mib"] > GROWTH_MIB
    )


if __name__ == "__main__":
    sys.exit(main())
