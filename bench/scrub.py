"""What scrubbing costs, beside what the SDK itself does: `make bench-scrub`.

Each event goes through the SDK as an application sends it, in one process: without
ours and with ours, turn by turn, to a transport that drops. What counts is this thread's
time of the processor. Prints a table, writes bench/results/scrub.json, and exits 1 when a
ratio is above what the issue allows.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

from bench import page
from bench.report import Section, in_rounds, measured, over_rounds, write
from lab.paths import PLANTED
from resentry.scrub import hooks
from resentry.sdk import build as sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

    Capture = Callable[[], object]

# The project's issues set them: what ours adds, to what the SDK takes alone.
GATES = {"planted": 0.5, "error": 1.0, "raised": 0.25}
ROWS = {
    "planted": "the planted event",
    "error": "an error of 30 frames with locals",
    "raised": "an exception of 9 frames, captured",
}
TURNS = {"planted": 2000, "error": 200, "raised": 400}
FRAMES = {"error": 30, "raised": 9}

Figures = dict[str, dict[str, Any]]


class Drop(Transport):
    """A transport that drops what it is given."""

    def capture_envelope(self, envelope: Envelope) -> None:
        pass


SECTIONS = (
    Section(
        "scrub",
        "What scrubbing costs",
        "CPU of one capture, in turns: without scrubbing and with it. The ratio is what "
        "scrubbing adds to the SDK's own time.",
        {
            "sentry-sdk (µs)": "figures/{}/sdk_us",
            "with scrubbing (µs)": "figures/{}/with_ours_us",
            "adds": "figures/{}/ratio",
            "goal": "gates/{}",
        },
        ROWS,
    ),
)


def main() -> None:
    """Measure, print, write; exit 1 if a gate does not hold."""
    alone = client()
    ours = client(**hooks({}, sdk.hook_places({})))
    planted = json.loads(PLANTED.read_bytes())["event"]
    error = event_from_exception(raised(FRAMES["error"]), client_options=alone.options)
    captures: dict[str, Callable[[], Capture]] = {
        "planted": lambda: partial(sentry_sdk.capture_event, copy.deepcopy(planted)),
        "error": lambda: partial(sentry_sdk.capture_event, copy.deepcopy(error[0])),
        "raised": lambda: partial(
            sentry_sdk.capture_exception, raised(FRAMES["raised"])
        ),
    }
    figures = {name: measure(captures[name], TURNS[name], alone, ours) for name in ROWS}
    result = {
        "measured": measured(turns=TURNS),
        "figures": figures,
        "gates": GATES,
    }
    print(page.table(SECTIONS[0], result))
    write("scrub", result)
    if broken := broken_gates(figures):
        sys.exit(f"Scrubbing is too slow: {'; '.join(broken)}.")


def client(**options: Any) -> sentry_sdk.Client:
    """Return a client as an application has it, less what waits for frameworks."""
    return sentry_sdk.Client(
        dsn="http://key@127.0.0.1/1",
        transport=Drop,
        auto_enabling_integrations=False,
        **options,
    )


def measure(
    make: Callable[[], Capture],
    turns: int,
    alone: sentry_sdk.Client,
    ours: sentry_sdk.Client,
) -> dict[str, Any]:
    """Return medians in microseconds, and what ours adds to what the SDK takes.

    What a capture needs is made before it is timed.
    """
    took: tuple[list[float], list[float]] = ([], [])
    scope = sentry_sdk.get_global_scope()
    for _ in range(turns):
        for one, times in zip((alone, ours), took, strict=True):
            scope.set_client(one)
            capture = make()
            began = time.thread_time()
            capture()
            times.append((time.thread_time() - began) * 1e6)
    without, with_ours = (in_rounds(times) for times in took)
    return {
        "sdk_us": over_rounds(without),
        "with_ours_us": over_rounds(with_ours),
        "ratio": over_rounds(
            [b / a - 1 for a, b in zip(without, with_ours, strict=True)]
        ),
    }


def raised(frames: int) -> ValueError:
    """Return a real error, raised so many frames deep."""
    try:
        enrol(frames - 2)
    except ValueError as error:
        return error
    raise AssertionError


def enrol(depth: int) -> None:
    """Raise, with what a frame usually holds."""
    course, page, rows = f"CS-{depth}", depth, [{"id": n, "ok": True} for n in range(9)]
    url = f"https://lms.example.edu/api/enrol?course={course}&page={page}"
    settings = {"db_password": "planted", "hosts": ["a.internal", "b.internal"]}
    note, handler, missing = "enrolled by the registrar's office", object(), None
    if depth:
        enrol(depth - 1)
    raise ValueError(url, rows, settings, note, handler, missing)


def broken_gates(figures: Figures) -> list[str]:
    """Say which ratio is above what is allowed."""
    return [
        f"{ROWS[name]} takes {figures[name]['ratio']['median']:.2f} of the SDK's time, "
        f"allowed is {allowed}"
        for name, allowed in GATES.items()
        if figures[name]["ratio"]["median"] > allowed
    ]


if __name__ == "__main__":
    main()
