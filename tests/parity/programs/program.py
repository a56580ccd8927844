"""What every program of the parity suite shares: its cases, and how one is run.

    python items.py message

runs one case in the way that PARITY_WAY names: `plain` is sentry-sdk alone, `environment`
and `swaps` are the library. That is the only difference. This file imports nothing of the
library, nor of the tests.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sentry_sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VARIABLES = {
    "dsn": "SENTRY_DSN",
    "environment": "SENTRY_ENVIRONMENT",
    "release": "SENTRY_RELEASE",
    "sample_rate": "SENTRY_SAMPLE_RATE",
    "traces_sample_rate": "SENTRY_TRACES_SAMPLE_RATE",
    "profiles_sample_rate": "SENTRY_PROFILES_SAMPLE_RATE",
    "send_default_pii": "SENTRY_SEND_PII",
}
"""What the library takes from the environment or the snapshot, not from the program."""

USUAL: Mapping[str, Any] = {
    "dsn": "http://PARITY_DSN",
    "environment": "staging",
    "release": "lms@1.2.3",
    "traces_sample_rate": 1.0,
    # Of the frameworks that are installed here an application has one, not all.
    "auto_enabling_integrations": False,
}

SWAPS = 2
"""So many swaps at least happen in each `pause`."""
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Case:
    """A small program, and what it gives to `init`."""

    name: str
    program: str
    run: Callable[[], None]
    feature: str
    """What it shows, for people."""
    shows: Mapping[str, Any]
    """Options that it shows: without them sentry-sdk alone sends something else."""
    beside: Mapping[str, Any]
    """Other options than the usual ones; `None` leaves one out."""
    environ: Mapping[str, str] = field(default_factory=dict)
    starts: bool = True
    """Whether Sentry is started before it runs."""
    code: int = 0
    """How it ends."""
    needs: str = ""
    """A server that it needs: `valkey`, `tls`."""

    def options(self, *, without: bool = False) -> dict[str, Any]:
        """Return all that `sentry_sdk.init` is given; `without` what the case shows."""
        given = {**USUAL, **self.beside}
        for name in self.shows:
            given.pop(name, None)
        if not without:
            given |= self.shows
        return {k: _filled(v) for k, v in given.items() if v is not None}

    def variables(self) -> dict[str, Any]:
        """Return what the library finds in the environment or the snapshot."""
        given = {**self.options(), "dsn": None}  # the runner has it
        given = {name: value for name, value in given.items() if value is not None}
        return {VARIABLES[name]: given[name] for name in VARIABLES if name in given}


def _filled(value: Any) -> Any:
    """Put what only the runner knows into a text: PARITY_OTHER, PARITY_FILES, …."""
    if isinstance(value, str):
        for name in ("PARITY_OTHER", "PARITY_SINK", "PARITY_TLS", "PARITY_FILES"):
            value = value.replace(name, os.environ.get(name, name))
        if value == USUAL["dsn"]:
            return os.environ.get("PARITY_DSN")
    return value


CASES: dict[str, Case] = {}
_current: list[Case] = []


def case(
    feature: str = "",
    *,
    shows: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    starts: bool = True,
    code: int = 0,
    needs: str = "",
    **beside: Any,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Make a case of a function; its name is the case's."""

    def register(run: Callable[[], None]) -> Callable[[], None]:
        program = os.path.basename(run.__code__.co_filename)
        name = run.__name__.strip("_")
        CASES[name] = Case(
            name,
            program,
            run,
            feature or name,
            shows or {},
            beside,
            environ or {},
            starts,
            code,
            needs,
        )
        return run

    return register


def start(**more: Any) -> None:
    """Start Sentry as the case wants it: in an application this is its own line."""
    way, one = os.environ["PARITY_WAY"], _current[0]
    options = one.options(without="PARITY_WITHOUT" in os.environ) | more
    if way == "plain":
        sentry_sdk.init(**options)
    else:
        import resentry

        own = {name: value for name, value in options.items() if name not in VARIABLES}
        resentry.init(role="api", **own)
    # What sentry-sdk alone leaves to chance: the trace outside of spans is made by the
    # first thread that asks; its sending thread starts with the first event, and if a
    # span is open then, it traces the SDK's own requests.
    sentry_sdk.get_traceparent()
    sentry_sdk.flush()


def pause() -> None:
    """Let the next swaps happen, where there are any."""
    if os.environ["PARITY_WAY"] != "swaps":
        return
    import resentry

    first = int(resentry.status()["sequence"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := int(resentry.status()["sequence"])) < first + SWAPS:
        if time.monotonic() > deadline:
            sys.exit(f"no swap: {resentry.status()}")
        time.sleep(0.005)
    _append("PARITY_SWAPS", now - first)


def say(**values: Any) -> None:
    """Tell the runner what this program saw: it is compared, too."""
    _append("PARITY_SAID", values)


def _append(variable: str, value: Any) -> None:
    file = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, json.dumps(value, default=str).encode() + b"\n")
    os.close(file)


def other(path: str = "/") -> str:
    """Return a URL of the other service, which remembers what it was asked."""
    return f"http://{os.environ['PARITY_OTHER']}{path}"


def ask_runner(line: str) -> None:
    """Have the runner do something, and return when it is done.

    `hold` lets the receiver answer nothing, `release` everything again. `received N`
    waits until N requests have arrived, `stay` lets no more swaps happen, `answer 500`
    has the receiver refuse all. No instrumentation sees this.
    """
    host, _, port = os.environ["PARITY_OTHER"].partition(":")
    with socket.socket() as connection:
        connection.connect((host, int(port)))
        path = line.replace(" ", "/")
        connection.sendall(f"GET /runner/{path} HTTP/1.1\r\n\r\n".encode())
        connection.recv(1000)


def fail() -> None:
    colour = "green"
    raise ValueError(f"no such colour: {colour}")


def report() -> None:
    """Report an exception as an application does."""
    try:
        fail()
    except ValueError as error:
        sentry_sdk.capture_exception(error)


def work(name: str = "work") -> None:
    """Make a transaction of one span."""
    with (
        sentry_sdk.start_transaction(op="task", name=name),
        sentry_sdk.start_span(op="step", name="inner"),
    ):
        pass


def report_twice() -> None:
    """Report before and after a swap."""
    report()
    pause()
    report()


def work_twice() -> None:
    """Work before and after a swap."""
    work()
    pause()
    work()


def rest() -> None:
    """Give a profiler time for its samples."""
    for _ in range(10):
        time.sleep(0.03)


def main() -> None:
    """Run the case that the command line names."""
    one = CASES[sys.argv[1]]
    _current.append(one)
    if one.starts:
        start()
    one.run()
