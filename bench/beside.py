"""One application for `bench.library` and `bench.serving`, with and without resentry.

Started as `python beside.py NAME OPTIONS`: with `resentry`, `sentry-sdk` alone, or `none`.
It prints what its start took, then does what each line of its input says, and prints
what that took, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

NAME, OPTIONS = sys.argv[1], json.loads(sys.argv[2])
FRAMES = 9
EXAMPLE = f"{os.path.dirname(__file__)}/../examples/lms"

before = time.process_time()
if NAME == "resentry":
    import resentry
    import resentry.target  # what `init` imports
import sentry_sdk  # noqa: E402 - the figures are of this order

imported = time.process_time()


def main() -> None:
    began = time.perf_counter()
    if NAME == "resentry":
        resentry.init(role="api", **OPTIONS)
    elif NAME == "sentry-sdk":
        sentry_sdk.init(**OPTIONS)
    ended = time.perf_counter()
    say({"import": (imported - before) * 1000, "init": (ended - began) * 1000})
    for line in sys.stdin:
        work, number = line.split()
        if work == "serve":
            serve(int(number))
        act = {"message": message, "error": error}[work]
        times = [act() for _ in range(int(number))]
        sentry_sdk.flush(10)
        say(times)
    os._exit(0)


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def message() -> float:
    """Capture a message; return its milliseconds."""
    began = time.perf_counter()
    sentry_sdk.capture_message("the registrar's office is closed")
    return (time.perf_counter() - began) * 1000


def error() -> float:
    """Capture an exception of so many frames; return the milliseconds of that."""
    try:
        enrol(FRAMES - 2)
    except ValueError as raised:
        began = time.perf_counter()
        sentry_sdk.capture_exception(raised)
        return (time.perf_counter() - began) * 1000
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


def serve(port: int) -> None:
    """Serve the example's API, and a flush, until the process is killed."""
    import uvicorn  # noqa: PLC0415 - the figures before are without it

    sys.path.insert(0, EXAMPLE)
    observability: Any = importlib.import_module("app.core.observability")
    observability.init_sentry_for_api = lambda: None  # `main` has done it, or must not
    api = importlib.import_module("app.main").api
    api.add_api_route("/flush", lambda: sentry_sdk.flush(25))
    known: dict[str, Any] = {"log_level": "critical", "access_log": False}
    uvicorn.run(api, port=port, **known)


if __name__ == "__main__":
    main()
