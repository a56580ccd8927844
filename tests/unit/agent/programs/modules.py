"""Prints what `run` has imported at its first snapshot, or when all of it runs."""

import json
import os
import sys

sys.argv, when = ["resentry-agent", "run"], sys.argv[1]

from agent import start  # noqa: E402


def stop() -> None:
    found = [name for name, module in sys.modules.items() if module is not None]
    print(json.dumps(found), flush=True)
    os._exit(0)


def watch() -> None:
    from agent import daemon  # noqa: PLC0415 - as `run` does
    from agent.daemon import Daemon  # noqa: PLC0415
    from agent.settings import load  # noqa: PLC0415
    from agent.source.choose import open_source  # noqa: PLC0415

    vault = {
        "RESENTRY_VAULT_ADDR": "https://127.0.0.1:9",
        "RESENTRY_VAULT_PATHS": "a/b",
    }
    settings = load({}, vault | {"RESENTRY_VAULT_TOKEN_FILE": "/nowhere"}).settings
    open_source(settings, "test")
    daemon.SERVICES_SECONDS = 600.0  # only the first pass starts them
    begin = Daemon._start_services

    def begin_services(self: Daemon) -> None:
        outcome = self.view.passes.outcome
        if outcome is not None and when == "first":
            assert outcome.kind == "published", outcome
            stop()
        begin(self)
        if self._services is not None:
            stop()

    Daemon._start_services = begin_services


assemble = start.lean.load


def load_and_watch(library: str) -> None:
    assemble(library)
    if library == "structlog":
        start.lean.load = assemble
        watch()


start.lean.load = load_and_watch
start.main()
