"""One breakage for each rule of `doctor` on the bridge, as in breakages.py."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Self

from breakages import Look, breaks
from set_up import Quiet

from lab import bridge as sentry
from lab.bridge import Bridge
from lab.receiver import Receiver
from lab.sentry_api import SentryApi
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "RESENTRY_BRIDGE_CANARY_DSN"
NOBODY = b"[]"
"""What an Alertmanager without alerts answers."""


class Bridged(Quiet):
    """A bridge, an Alertmanager that takes everything, and Sentry's API."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.manager = Receiver(200, body=NOBODY)
        self.sink, self.api = (
            Sink(),
            SentryApi("ingest.example.org", scopes=("org:read",)),
        )
        self.parts = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        for part in (self.manager, self.sink, self.api):
            self.parts.enter_context(part)  # type: ignore[arg-type]
        self.api.alerts.apps = {"resentry-bridge": 7}
        self.bridge = Bridge(
            self.folder / "bridge",
            [f"http://{self.manager.address}"],
            RESENTRY_BRIDGE_RESEND_SECONDS="1",
            RESENTRY_BRIDGE_ESCALATE_SECONDS="4",
            **{CANARY: self.sink.dsn(1)},
        )
        self.parts.enter_context(self.bridge)
        mine = {k: v for k, v in self.bridge.env.items() if k.startswith("RESENTRY_")}
        self.environ |= mine | {
            "RESENTRY_BRIDGE_URL": "https://8.8.8.8/sentry",
            "RESENTRY_BRIDGE_INTEGRATION": "resentry-bridge",
            "RESENTRY_SENTRY_API": self.api.url,
            "RESENTRY_SENTRY_ORGANIZATION": "school",
            "RESENTRY_SENTRY_TOKEN": self.api.token,
        }
        self.well()
        return self

    def __exit__(self, *_: object) -> None:
        self.parts.close()
        super().__exit__()

    def well(self) -> None:
        """Send a webhook that is signed as it should be, and changes nothing."""
        self.bridge.send("issue", sentry.issue(action="assigned"))

    def restart(self, *without: str, **settings: str) -> dict[str, str]:
        """Start the bridge anew with other settings; return those it had before."""
        before = dict(self.bridge.env)
        self.bridge.stop()
        kept = {k: v for k, v in before.items() if k not in without}
        self.bridge.env = kept | settings
        self.bridge.start()
        return before

    def again(self, environ: dict[str, str]) -> None:
        """Start the bridge anew as it was."""
        self.bridge.stop()
        self.bridge.env = environ
        self.bridge.start()


@breaks("RSN971", of=Bridged)
def bridge_is_gone(site: Bridged) -> Iterator[None]:
    site.bridge.kill()
    yield
    site.bridge.start()


def _url(id_: str, url: str) -> None:
    def give(_: Bridged) -> Iterator[Look]:
        yield {"RESENTRY_BRIDGE_URL": url}

    breaks(id_, of=Bridged)(give)


_url("RSN972", "https://10.0.0.7/sentry")


@breaks("RSN973", of=Bridged)
def another_secret(site: Bridged) -> Iterator[None]:
    refused = site.bridge.send("issue", sentry.issue(), Sentry_Hook_Signature="0" * 64)
    assert refused.status_code == 401
    yield
    site.well()


@breaks("RSN974", "RSN980", of=Bridged)
def no_webhook(site: Bridged) -> Iterator[None]:
    store = site.folder / "another.db"
    before = site.restart(CANARY, RESENTRY_BRIDGE_STORE=str(store))
    yield
    site.again(before)


@breaks("RSN975", of=Bridged)
def canary_is_lost(site: Bridged) -> Iterator[None]:
    soon = {
        "RESENTRY_BRIDGE_CANARY_SECONDS": "1",
        "RESENTRY_BRIDGE_CANARY_LIMIT_SECONDS": "1",
    }
    before = site.restart(**soon)
    yield
    site.again(before)


@breaks("RSN976", of=Bridged)
def not_installed(site: Bridged) -> Iterator[None]:
    site.api.alerts.apps = {"another": 8}
    yield
    site.api.alerts.apps = {"resentry-bridge": 7}


@breaks("RSN977", of=Bridged)
def manager_fails(site: Bridged) -> Iterator[None]:
    site.manager.how = 500
    site.bridge.send("event_alert", sentry.event_alert())
    yield
    site.manager.how = 200
    site.bridge.send("issue", sentry.issue())


@breaks("RSN978", of=Bridged)
def manager_tells_nothing(site: Bridged) -> Iterator[None]:
    site.manager.body = b"no list"
    yield
    site.manager.body = NOBODY


@breaks("RSN979", of=Bridged)
def store_is_locked(site: Bridged) -> Iterator[None]:
    with closing(sqlite3.connect(site.bridge.store)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@breaks("RSN980", of=Bridged)
def no_canary(site: Bridged) -> Iterator[None]:
    before: dict[str, Any] = site.restart(CANARY)
    yield
    site.again(before)
