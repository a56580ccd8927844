"""Rules name requests by their path, with and without the prefix that a server adds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from lab.models import Model
from lab.process import eventually, free_port, listens
from lab.sides import ENVIRONMENT, PROGRAMS
from lab.sink import Sink
from resentry.contract import SETTINGS_FILE, Rule, Snapshot, encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.process


HEADERS = {
    "sentry-trace": "0123456789abcdef0123456789abcdef-0123456789abcdef-1",
    "baggage": "sentry-trace_id=0123456789abcdef0123456789abcdef,"
    "sentry-sample_rate=0.01337,sentry-sampled=true,sentry-sample_rand=0.005",
}
INCOMING = set(HEADERS["baggage"].split(","))


class Mounted(NamedTuple):
    """An application under `/shop`, and how its server is started."""

    framework: str
    command: str
    prefix: str
    """What a request's path begins with; where empty, a proxy takes it away."""
    without: bool = True
    """Whether a rule may leave the prefix out."""
    environ: Mapping[str, str] = {}


UVICORN = "uvicorn --port PORT --log-level warning mounted:app"
ROWS = {
    "Flask, waitress with a prefix": Mounted(
        "flask", "waitress-serve --port PORT --url-prefix=/shop mounted:app", "/shop"
    ),
    "Django, gunicorn with SCRIPT_NAME": Mounted(
        "django",
        "gunicorn --bind 127.0.0.1:PORT mounted:app",
        "/shop",
        environ={"SCRIPT_NAME": "/shop"},
    ),
    "Starlette, uvicorn --root-path": Mounted(
        "starlette", f"{UVICORN} --root-path /shop", ""
    ),
    "FastAPI with a root_path": Mounted("fastapi", UVICORN, ""),
    # Its inner path is known only where the framework looks for the route.
    "Starlette, Mount": Mounted("mount", UVICORN, "/shop", without=False),
}


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def model(sink: Sink) -> Iterator[Model]:
    with Model(sink) as running:
        yield running


def publish(volume: Path, *rules: Rule, **settings: Any) -> None:
    snapshot = Snapshot(settings, rules=rules, revision="a" * 12, sequence=1)
    (volume / SETTINGS_FILE).unlink(missing_ok=True)
    (volume / SETTINGS_FILE).write_bytes(encode_snapshot(snapshot))


@pytest.mark.parametrize("mode", ["static", "stream"])
@pytest.mark.parametrize("row", ROWS)
def test_a_rule_reaches_what_it_names_under_a_prefix(
    row: str, mode: str, model: Model, sink: Sink
) -> None:
    """And what it doesn't name is, with an unset rate, as if tracing were off."""
    mounted, port = ROWS[row], free_port()
    orders = "GET /orders/*" if mounted.without else "GET /shop/orders/*"
    publish(
        model.volume,
        Rule("GET /shop/users/*", 1.0),
        Rule(orders, 1.0),
        SENTRY_DSN=sink.dsn(1),
    )
    model.spawn(
        *mounted.command.replace("PORT", str(port)).split(),
        cwd=PROGRAMS,
        ready=lambda: listens(port),
        environ={
            "PATH": f"{ENVIRONMENT}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONWARNINGS": "ignore",
            "MOUNTED": mounted.framework,
            "MODE": mode,
            **mounted.environ,
        },
        within=60,
    )

    def ask(path: str) -> dict[str, str]:
        url = f"http://127.0.0.1:{port}{mounted.prefix}{path}"
        answer = requests.get(url, headers=HEADERS, timeout=20)
        answer.raise_for_status()
        return {name.lower(): text for name, text in answer.json().items()}

    for path in ("/health", "/users/7", "/orders/7", "/health"):
        found = ask(path)
        if path == "/health":
            assert found["sentry-trace"].count("-") == 1, "nothing is decided"
            assert set(found["baggage"].split(",")) == INCOMING
        else:
            assert found["sentry-trace"].endswith("-1")
            assert "sentry-sample_rate=1.0" in found["baggage"]
    kind = "span" if mode == "stream" else "transaction"
    eventually(lambda: sink.count(kind, 1) >= 2, what=f"each {kind}")
