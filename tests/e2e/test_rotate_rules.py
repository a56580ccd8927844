"""Each rule of a rotation is broken once, on real parts: the rotation holds it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.rotation.journal import PHASES
from lab.process import eventually, free_port
from lab.proxy import Gate
from lab.sink import Sink
from lab.system import SECRET, System
from tests.support.rotating import (
    PROJECT,
    active,
    ended,
    environ_of,
    held,
    rotate,
    says,
    sentry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.messages import Message
    from lab.proxy import Streams
    from lab.sentry_api import SentryApi

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

PROGRAMS = Path(__file__).parent / "programs"
JOURNAL = "rotations/lms"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def api(sink: Sink) -> Iterator[SentryApi]:
    with sentry(sink) as api:
        yield api


@pytest.fixture
def system(api: SentryApi, tmp_path: Path) -> Iterator[System]:
    with System(None, **environ_of(api, tmp_path)) as system:
        yield system


class Late(Gate):
    """A gate that lets the request through after all, once it is told to."""

    is_open = False

    async def ask(self, server: Streams, request: Message) -> bytes:
        if self._wanted is not None and self._wanted(request):
            self._wanted, self.is_held = None, True
            while not (self.is_open or self._stopping.is_set()):
                await self.pause(0.05)
        return await super().ask(server, request)


def switches(api: SentryApi) -> list[str]:
    """Return how keys were switched or deleted."""
    return [method for method, _, _ in api.asked if method in {"PUT", "DELETE"}]


def journal_of(system: System) -> dict[str, Any]:
    answer = system.vault.client.read(f"secret/data/{JOURNAL}")
    return dict(json.loads(answer["data"]["data"]["journal"]))


def test_each_rule_is_broken_once(
    system: System, api: SentryApi, tmp_path: Path
) -> None:
    """The old key lives until nothing is left to wait for, and each wait has its reason."""
    (old,) = api.projects["lms"].keys
    api.has_stats, now = True, time.time()
    api.used[old["id"]] = [now, now + 3600]
    caching = api.switched
    api.switched = lambda *_: None
    system.write(SENTRY_DSN=old["dsn"]["public"], theirs="1")
    system.start_agent()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    made = tmp_path / "pipe.made"
    program = ("python", str(PROGRAMS / "second.py"), str(pipe))
    application = system.spawn(*program)
    eventually(made.exists, 60, "an application with a client of its own")
    other = {
        "RESENTRY_DIR": str(tmp_path / "other"),
        "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{(port := free_port())}",
    }
    system.spawn("resentry-agent", "run", ready=port, environ=other)
    pods = [f"127.0.0.1:{system.http_port}", f"127.0.0.1:{port}"]
    fleet = {"RESENTRY_FLEET": ",".join(f"http://{pod}" for pod in pods)}

    # What somebody else writes meanwhile stays.
    going = rotate(system, "--quiet", "1s", "--refused", "4s", **fleet)
    says(going, "created:")
    newest = system.vault.client.read(f"secret/data/{SECRET}")["data"]
    system.vault.client.secrets.kv.v2.create_or_update_secret(
        SECRET,
        newest["data"] | {"theirs": "2"},
        cas=newest["metadata"]["version"],
    )
    says(going, "written:")

    # A pod without a process is no proof; one that joins counts.
    says(going, f"not run everywhere: {pods[1]} (no process has given a receipt)")
    assert held(system)["theirs"] == "2"
    app = ("uvicorn", "app.main:api", "--port", str(system.api_port))
    system.spawn(*app, environ=other)

    # What may send by another client holds the old DSN, until a person says otherwise.
    name = f"{pods[0]} api pid {application.pid}"
    says(going, f"the old DSN may still be used: {name}")
    assert going.stop() == 130
    going = rotate(system, "--resume", "--force", name, **fleet)

    # A use of the old key is no quiet.
    says(going, "drained: nothing may come by the old key until")
    assert journal_of(system)["forced"] == [name]
    assert (active(api), switches(api)) == ([True, True], [])
    assert "drained" in journal_of(system)["phase"]
    api.used.clear()

    # A server that still accepts the old key is not done.
    says(going, "retired: the server has not yet refused the old key")
    assert (active(api), switches(api)) == ([False, True], ["PUT"])
    caching(PROJECT, old["id"], False)
    result = ended(going)
    assert result["phase"] == "done"
    assert any(f"not waited for: {name}" in entry for entry in result["entries"])
    at = {each["phase"]: each["at"] for each in journal_of(system)["entries"]}
    assert list(at) == [*PHASES[:-1]]
    text = json.dumps(journal_of(system))
    assert not any(key["id"] in text for key in api.projects["lms"].keys)


def test_a_holder_that_has_lost_the_lock_changes_nothing(
    system: System, api: SentryApi
) -> None:
    """It hung in the middle of its write; another one has done that and the rest."""
    (old,) = api.projects["lms"].keys
    system.write(SENTRY_DSN=old["dsn"]["public"])
    system.start_agent()
    system.start_api(workers=1)
    system.converge(1, 1)
    with Late(system.vault.address) as gate:
        gate.hold(
            lambda request: (
                request.start[0] == "POST"
                and request.start[1].endswith(f"data/{SECRET}")
            ),
            after=False,
        )
        behind = {"RESENTRY_VAULT_ADDR": gate.url}
        late = rotate(system, "--quiet", "1s", "--refused", "1s", **behind)
        eventually(lambda: gate.is_held, 60, "its write of the DSN")
        late.signal(signal.SIGSTOP)
        busy = rotate(system, "--quiet", "1s")
        ended(busy, 75)
        aged = journal_of(system) | {"until": 0.0}
        system.vault.write(JOURNAL, journal=json.dumps(aged))
        assert ended(rotate(system, "--resume"))["phase"] == "done"

        def secret() -> dict[str, Any]:
            return dict(system.vault.client.read(f"secret/data/{SECRET}")["data"])

        before, journal = secret(), journal_of(system)
        gate.is_open = True
        late.signal(signal.SIGCONT)
        eventually(lambda: not late.alive, 60, "the end of the late one")
    assert late.returncode in {66, 75}, late.log_text()
    assert (secret(), journal_of(system)) == (before, journal)
    assert active(api) == [False, True]


def test_what_has_no_check_and_set_is_refused(system: System, api: SentryApi) -> None:
    """KV version 1 can keep neither a lock nor a journal; nothing is begun."""
    system.vault.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    (old,) = api.projects["lms"].keys
    system.write(SENTRY_DSN=old["dsn"]["public"])
    for path, said in (
        ("kv1/rotations", "kv1/rotations is not KV version 2"),
        (f"secret/data/{SECRET}", "is the path of the secret itself"),
    ):
        tried = rotate(system, "--quiet", "1s", RESENTRY_ROTATION_PATH=path)
        ended(tried, 78)
        assert said in tried.log_text()
    assert [method for method, _, _ in api.asked if method != "GET"] == []
