"""What the servers tell of a verification: who they are, and what they have stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent._version import __version__
from agent.cli.gather import published
from agent.domain import verified
from agent.domain.dsn_check import dsns_of
from agent.observe import stderr
from agent.publish.volume import Volume
from agent.stored import Server, is_bugsink
from agent.web import is_private
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.verified import Item, Part
    from agent.settings import Settings

    Judge = Callable[..., Part]

STORED_SECONDS = 1.0
"""The time between two looks at the server."""
USER_AGENT = f"resentry-agent/{__version__}"


def open_server(settings: Settings) -> Server:
    """Return the server of RESENTRY_VERIFY_API, or raise `SettingsError`."""
    parts = urlsplit(settings.verify_api)
    if parts.scheme and not is_private(parts):
        stderr.say(
            "warning: the token is sent over http, and anybody on the network can read it: "
            "write RESENTRY_VERIFY_API with https"
        )
    return Server(settings, USER_AGENT)


def _dsns(settings: Settings) -> Mapping[str, str]:
    """Return the published DSNs by their fingerprints."""
    snapshot = published(Volume(settings.dir, settings.receipts_dir))
    return {fingerprint(dsn): dsn for dsn in dsns_of(snapshot)} if snapshot else {}


def _base(dsn: str) -> str:
    """Return the address of a DSN's server."""
    parts = urlsplit(dsn)
    host, path = parts.netloc.rpartition("@")[2], parts.path.rpartition("/")[0]
    return f"{parts.scheme}://{host}{path}"


def judge_by_server(settings: Settings, parts: list[Part], judge: Judge) -> list[Part]:
    """Judge again what a Bugsink answers for kinds that it never keeps."""
    kept = verified.KEPT_BY_BUGSINK
    in_doubt = {
        part.target.receipt.dsn
        for part in parts
        for item in part.items
        if item.sent.kind not in kept and item.sent.state in ("accepted", "limited")
    }
    dsns = _dsns(settings)
    bases = {name: _base(dsns[name]) for name in in_doubt & dsns.keys()}
    if not bases:
        return parts
    bugsinks = {base for base in {*bases.values()} if is_bugsink(base, USER_AGENT)}
    return [
        judge(part.target, server=verified.BUGSINK)
        if part.items and bases.get(part.target.receipt.dsn) in bugsinks
        else part
        for part in parts
    ]


def read_back(
    settings: Settings, parts: list[Part], server: Server, until: float
) -> list[Part]:
    """Look for each accepted item at the server, until all are there or the time is over."""
    projects = {name: dsn.rpartition("/")[2] for name, dsn in _dsns(settings).items()}
    while True:
        read = [_part_read_back(part, server, projects) for part in parts]
        lacking = [item for part in read for item in part.items if item.stored == "no"]
        if not lacking or time.monotonic() >= until:
            return read
        stderr.say(f"not stored yet: {len(lacking)}")
        time.sleep(STORED_SECONDS)


def _part_read_back(part: Part, server: Server, projects: Mapping[str, str]) -> Part:
    wanted = {
        item.sent.kind: item.sent.event
        for item in part.items
        if item.verdict == "passed"
    }
    if not wanted:
        return part
    project = projects.get(part.target.receipt.dsn)
    if project is None:
        why = "the process sends by a DSN that is not published"
        items = [verified.read_back(item, "unknown", why=why) for item in part.items]
        return verified.part_of(part.target, items)
    found = server.find(project, wanted)
    items = [_item_read_back(part, item, found) for item in part.items]
    return verified.part_of(part.target, items)


def _item_read_back(part: Part, item: Item, found: Mapping[str, Any]) -> Item:
    if item.sent.kind not in found:
        return item
    values = part.target.receipt.values
    ran = (values.get("SENTRY_ENVIRONMENT"), values.get("SENTRY_RELEASE"))
    return verified.read_back(item, *found[item.sent.kind], ran=ran)
