"""`make demo`: a DSN changes in Vault under traffic; no process restarts, no event is lost."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests

from lab.bugsink import Bugsink
from lab.process import eventually
from lab.sink import Sink
from lab.system import System
from lab.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGETS = 5
"""Two uvicorn workers, Celery's main process and its two children."""
SETTLE_SECONDS = 15.0


@dataclass
class Show:
    """Prints what happens, and collects the figures."""

    quiet: bool
    began: float = field(default_factory=time.monotonic)
    converge_ms: list[float] = field(default_factory=list)
    rotations: int = 0

    def say(self, text: str = "") -> None:
        if not self.quiet:
            print(f"{time.monotonic() - self.began:6.2f} s  {text}" if text else "")

    def rollout(self, found: dict[str, Any], *, first: bool = False) -> None:
        """Show one snapshot, and how long each process took to run it.

        The first snapshot is older than the processes: no time is shown for it.
        """
        current = found["current"]
        self.say(
            f"revision {current['revision']}, sequence {current['sequence']}: "
            f"DSN {current['settings']['SENTRY_DSN']}, traces "
            f"{current['settings']['SENTRY_TRACES_SAMPLE_RATE']}"
        )
        for target in found["rollout"]["targets"]:
            took = _ms_between(current["published_at"], target["since"])
            if not first:
                self.converge_ms.append(took)
            kind = f"{target['role']}{' main' if target['main'] else ''}"
            after = "" if first else f" {took:3.0f} ms after publishing"
            self.say(f"    {kind:11} pid {target['pid']:<7} confirmed{after}")


def _ms_between(earlier: str, later: str) -> float:
    span = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    return max(0.0, span.total_seconds() * 1000)


def demo(show: Show) -> dict[str, Any]:
    """Run the whole of it on our own receiver; return the figures."""
    with Sink() as sink, System() as system:
        first, second = sink.dsn(1), sink.dsn(2)
        show.say(f"OpenBao at {system.vault.address}, receiver at {sink.address}")
        _start(show, system, first)

        sequence = 1
        with Traffic(f"http://127.0.0.1:{system.api_port}") as traffic:
            for dsn, traces in ((second, "0.1"), (first, "0.1"), (first, "0.5")):
                traffic.await_more(100)
                sequence += 1
                change = "the DSN" if traces == "0.1" else "the sampling rate alone"
                show.say(
                    f"{len(traffic.events)} requests so far; {change} changes in Vault"
                )
                system.write(SENTRY_DSN=dsn, SENTRY_TRACES_SAMPLE_RATE=traces)
                show.rotations += change == "the DSN"
                show.rollout(system.converge(TARGETS, sequence))
            traffic.await_more(100)
        sent = [*traffic.events, *traffic.graded()]
        figures = _account(sink, sent)
        for project in (1, 2):
            show.say(
                f"project {project}: {sink.count('event', project)} events, "
                f"{sink.count('transaction', project)} transactions"
            )
        return {
            "processes": TARGETS,
            "rotations": show.rotations,
            **figures,
            "failed_requests": len(traffic.failed),
            "converge_ms": {
                "p50": round(statistics.median(show.converge_ms), 1),
                "max": round(max(show.converge_ms), 1),
            },
        }


def _start(show: Show, system: System, dsn: str) -> None:
    system.write(SENTRY_DSN=dsn, SENTRY_TRACES_SAMPLE_RATE="0.1")
    system.start_agent()
    interval = system.environ["RESENTRY_POLL_SECONDS"]
    answer = system.get("/startupz").text.strip()
    show.say(f"the agent runs, and polls every {interval} s: {answer}")
    system.start_worker()
    system.start_api(workers=2)
    show.say(
        "a FastAPI service (2 uvicorn workers) and a Celery worker (2 children) run"
    )
    show.rollout(system.converge(TARGETS, 1, within=30), first=True)


def _account(sink: Sink, sent: Sequence[str | None]) -> dict[str, int]:
    """Compare what was captured with what arrived, id by id."""
    expected = {event for event in sent if event}

    def missing() -> set[str]:
        return expected - set(sink.event_ids())

    with contextlib.suppress(TimeoutError):  # the figures say it
        eventually(lambda: not missing(), SETTLE_SECONDS, "the last events")
    return {
        "events_sent": len(sent),
        "events_received": len(set(sink.event_ids()) & expected),
        "lost": len(missing()) + sum(event is None for event in sent),
        "duplicated": sink.duplicates(),
    }


def show_ui(show: Show) -> None:
    """Run on Bugsink, rotate once, and keep running until it is interrupted."""
    show.say("starting Bugsink (its first start sets up a database)")
    with Bugsink() as bugsink, System() as system:
        first, second = bugsink.project("lms-before"), bugsink.project("lms-after")
        _start(show, system, first)
        url = f"http://127.0.0.1:{system.api_port}"

        def fail_until(project: str, count: int) -> None:
            def enough() -> bool:
                requests.get(f"{url}/courses/42", timeout=30)
                return len(bugsink.events(project)) >= count

            eventually(enough, 60, f"events in {project}")
            show.say(f"{len(bugsink.events(project))} errors in project {project}")

        fail_until("lms-before", 5)
        show.say("the DSN changes in Vault")
        system.write(SENTRY_DSN=second, SENTRY_TRACES_SAMPLE_RATE="0.1")
        show.rollout(system.converge(TARGETS, 2))
        fail_until("lms-after", 5)
        user, password = bugsink.login
        show.say()
        show.say(f"Bugsink:  {bugsink.url}   user {user}, password {password}")
        show.say(f"the API:  {url}/courses/42   fails; look where it is reported")
        show.say(f"status:   http://127.0.0.1:{system.http_port}/status")
        show.say("Ctrl-C ends it.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            show.say("ending")


def main() -> int:
    """Return 0 only if every process converged and nothing was lost or sent twice."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object, as last line")
    parser.add_argument("--ui", action="store_true", help="Bugsink, and keep running")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end it, clean up too
    if given.ui:
        show_ui(Show(quiet=False))
        return 0
    show = Show(quiet=given.json)
    try:
        figures = demo(show)
    except (TimeoutError, RuntimeError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    good = not (figures["lost"] or figures["duplicated"] or figures["failed_requests"])
    if given.json:
        print(json.dumps(figures))
    else:
        converge = figures["converge_ms"]
        show.say()
        show.say(
            f"{figures['events_sent']} events captured, "
            f"{figures['events_received']} received, lost {figures['lost']}, "
            f"duplicated {figures['duplicated']}; a process ran a new revision "
            f"{converge['p50']:.0f} ms after publishing (median), "
            f"{converge['max']:.0f} ms at most"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
