"""Makes OpenTelemetry's spans all the time: each one's id goes to the file it is given.

With a second argument a part of the library is left out: `plain` is sentry-sdk alone
with the DSN of the start, `follow` is that with the exporters following the volume.
With a third, so many children are forked in the middle, which do the same.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any, TextIO

import sentry_sdk
from opentelemetry import trace
from sentry_sdk.integrations.otlp import OTLPIntegration

import resentry
from resentry import holders, otlp
from resentry.contract import fingerprint
from resentry.reader import SharedDir

PAUSE = 0.002
THREADS = 2


def work(ids: TextIO, stopped: threading.Event) -> None:
    tracer = trace.get_tracer(__name__)
    while not stopped.wait(PAUSE):
        with tracer.start_as_current_span("turn") as span:
            made = f"{span.get_span_context().span_id:016x}\n"
        ids.write(made)


def newest(volume: SharedDir) -> str:
    snapshot = volume.read()
    return str(snapshot.settings["SENTRY_DSN"])


def follow(volume: SharedDir, dsn: str, stopped: threading.Event) -> None:
    """Have the exporters follow, without a client that does."""
    ours = {fingerprint(dsn)}
    while not stopped.wait(0.01):
        if dsn != newest(volume):
            dsn = newest(volume)
            ours.add(fingerprint(dsn))
            otlp.follow(dsn, ours)


def start(mode: str, volume: SharedDir, stopped: threading.Event) -> None:
    integrations = [OTLPIntegration()]
    if mode == "resentry":
        resentry.init(role="api", integrations=integrations)
        return
    dsn = newest(volume)
    holders.note_clients()
    sentry_sdk.init(dsn=dsn, integrations=integrations)
    if mode == "follow":
        otlp.follow(dsn, {fingerprint(dsn)})
        arguments = (volume, dsn, stopped)
        threading.Thread(target=follow, args=arguments, daemon=True).start()


def run(ids: TextIO, stopped: threading.Event) -> None:
    threads = [
        threading.Thread(target=work, args=(ids, stopped)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    stopped.wait()
    for thread in threads:
        thread.join()
    provider: Any = trace.get_tracer_provider()
    provider.shutdown()


def main() -> None:
    mode = (sys.argv[2:3] or ["resentry"])[0]
    volume, stopped = SharedDir.from_environ(os.environ), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    start(mode, volume, stopped)
    with open(sys.argv[1], "a", buffering=1) as ids:
        children = []
        for _ in range(int((sys.argv[3:4] or ["0"])[0])):
            time.sleep(0.1)
            child = os.fork()
            if not child:
                if mode == "follow":
                    dsn = newest(volume)
                    otlp.follow(dsn, {fingerprint(dsn)})
                    arguments = (volume, dsn, stopped)
                    threading.Thread(target=follow, args=arguments, daemon=True).start()
                run(ids, stopped)
                os._exit(0)
            children.append(child)
        run(ids, stopped)
        for child in children:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
