"""A hostile Vault fills the memory of an agent in 64 MiB: the agent outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cgroup import is_available, memory_limit

from lab.process import eventually, free_port
from lab.proxy import Faults, Proxy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.alone,
    pytest.mark.skipif(
        not is_available(), reason="needs root and cgroups of version 1"
    ),
]

LIMIT_MIB = 64
PASSES = 5
GOOD = {"SENTRY_DSN": f"https://{'a' * 32}@sentry.example.org/1"}


def kv(held: object) -> bytes:
    return json.dumps({"data": {"data": held}}, ensure_ascii=False).encode()


def raw(text: str) -> bytes:
    return b'{"data": {"data": ' + text.encode() + b"}}"


SMALL = "[" + "{}," * 340_000 + "{}]"
ATTACKS = {
    "empty lists under a foreign key": (200, raw('{"x": [' + "[]," * 340_000 + "[]]}")),
    "rules without end": (200, raw('{"RESENTRY_RULES": ' + SMALL + "}")),
    "rules without end, as text": (200, kv({**GOOD, "RESENTRY_RULES": SMALL})),
    "characters of four bytes": (200, kv({"x": "\U0001f600" * 262_000})),
    "a text that takes four bytes each": (
        200,
        kv({**GOOD, "SENTRY_RELEASE": "x" * 1_048_000 + "\U0001f600"}),
    ),
    "many keys": (200, kv({f"K{number}": "" for number in range(120_000)})),
    "deep nesting": (200, b"[" * (2 * 1024 * 1024 - 1)),
    "no end of a string": (200, b'"' + b"x" * (2 * 1024 * 1024 - 2)),
    "503 with objects": (503, b"[" + b"{}," * 690_000 + b"{}]"),
    "404 with objects": (404, b"[" + b"{}," * 690_000 + b"{}]"),
    "400 with text": (400, b"x" * 2_000_000),
}


@pytest.fixture(scope="module")
def proxy() -> Any:
    with Proxy("127.0.0.1:9") as proxy:
        yield proxy


def passes(port: int) -> float:
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    lines = [
        line for line in text.splitlines() if line.startswith("resentry_passes_total")
    ]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def outcome(port: int) -> str:
    status = requests.get(f"http://127.0.0.1:{port}/status", timeout=5).json()
    return str(status["result"]["source"]["outcome"])


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/livez", timeout=5).ok
    except requests.RequestException:
        return False


def test_no_answer_kills_an_agent_in_64_mib(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each several times, one after the other; then it reads on."""
    port, good = free_port(), Faults(status=200, body=kv(GOOD))
    proxy.faults = good
    env = {
        "PATH": os.environ["PATH"],
        "RESENTRY_DIR": str(tmp_path / "volume"),
        "RESENTRY_VAULT_ADDR": proxy.url,
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        "RESENTRY_VAULT_AUTH": "none",
        "RESENTRY_VAULT_KV_VERSION": "2",
        "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{port}",
        "RESENTRY_DSN_CHECK": "off",
        "RESENTRY_POLL_SECONDS": "0.2",
    }
    with (
        memory_limit(LIMIT_MIB) as cgroup,
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            cgroup.within(sys.executable, "-m", "agent", "run"),
            env=env,
            stdout=log,
            stderr=log,
        ) as agent,
    ):
        try:
            eventually(lambda: answers(port), what="the agent")
            for name, (status, body) in ATTACKS.items():
                proxy.faults = Faults(status=status, body=body)
                seen = passes(port)

                def is_through(seen: float = seen) -> bool:
                    return agent.poll() is not None or passes(port) >= seen + PASSES

                eventually(is_through, what=f"{PASSES} passes of {name}")
                assert (agent.poll(), cgroup.kills) == (None, 0), name
                proxy.faults = good
                eventually(lambda: outcome(port) == "unchanged", what="the recovery")
        finally:
            agent.kill()
        with capsys.disabled():
            print(f" [peak {cgroup.peak_mib:.1f} of {LIMIT_MIB} MiB]", end="")  # noqa: T201
