"""What agent and library agree on to verify that events arrive. Part of the contract.

The agent writes a request on the volume. Each process sends test items through its own
running client, and says in its receipt what became of each.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry import formats
from resentry.schema import SCHEMA, ContractError, plain, read_object

if TYPE_CHECKING:
    from collections.abc import Iterable

VERIFY_FILE = "verify.json"
VERIFY_LIMIT_BYTES = 4096
AGAIN_SECONDS = 10.0
"""A process answers one request in this time; a newer request waits for its end."""
KINDS = ("error", "message", "transaction", "log", "span")
FINGERPRINT = "resentry-verify"
"""All test events make one issue at the server."""
TAG = "resentry.verify"
"""The tag that holds the nonce."""
_NONCE = re.compile(r"[0-9a-f]{12}\Z")


class Ask(NamedTuple):
    """The request: send an item of each kind, if your role is asked, before `until`."""

    nonce: str
    until: float
    """In seconds since the epoch."""
    kinds: tuple[str, ...] = KINDS
    roles: tuple[str, ...] = ()
    """The roles that are asked; empty for all."""


class Sent(NamedTuple):
    """What became of one test item.

    `state` is `handed` while it is queued; `accepted`, `refused`, `limited`, `failed` or
    `unreached` as the server answered with `status`; `unused`, if the process sends
    nothing of this kind; `busy`, if the process's queue had no room for it; or `swapped`,
    if the process took other settings meanwhile. `event` is its id at the server; `ms` the time until the answer.
    """

    kind: str
    state: str
    event: str = ""
    status: int | None = None
    ms: float = 0.0


class Verified(NamedTuple):
    """A process's part in one verification.

    `state` is `asked`, or why nothing is sent: `off` (no DSN), `foreign` (the application's
    own client runs), `forbidden` (`RESENTRY_VERIFY=off`) or, in a reader's eyes, `unable`
    (the library is too old).
    """

    nonce: str
    state: str
    items: tuple[Sent, ...] = ()


UNABLE = Verified("", "unable")
"""What stands for the part of a process whose library knows no verification."""


def encode_ask(ask: Ask) -> bytes:
    """Return the content of `verify.json`."""
    return json.dumps({"schema": SCHEMA, **ask._asdict()}).encode() + b"\n"


def decode_ask(body: bytes) -> Ask:
    """Read `verify.json`, or raise `ContractError`."""
    document = read_object(body, VERIFY_FILE)
    try:
        ask = Ask(
            nonce=document["nonce"],
            until=formats.number(document["until"]),
            kinds=tuple(kind for kind in document["kinds"] if kind in KINDS),
            roles=tuple(formats.role(role) for role in document["roles"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ContractError(f"{VERIFY_FILE} is not a request") from None
    if not _NONCE.match(str(ask.nonce)):
        raise ContractError(f"{VERIFY_FILE} is not a request")
    return ask


def is_verified(value: Any) -> bool:
    """Whether a receipt's value can be read as a `Verified`."""
    return (
        type(value) is dict
        and type(value.get("nonce")) is type(value.get("state")) is str
        and type(value.get("items")) is list
        and all(map(_is_sent, value["items"]))
    )


def _is_sent(value: Any) -> bool:
    return (
        type(value) is dict
        and all(type(value.get(name)) is str for name in ("kind", "state", "event"))
        and type(value.get("status")) in (int, type(None))
        and type(value.get("ms")) in (int, float)
    )


def read_verified(value: dict[str, Any]) -> Verified:
    """Return a checked value of a receipt. Unknown fields are skipped."""
    return Verified(value["nonce"], value["state"], tuple(_read_sent(value["items"])))


def _read_sent(items: Iterable[dict[str, Any]]) -> Iterable[Sent]:
    for item in items:
        yield Sent(**{name: item[name] for name in Sent._fields})


def document_of(verified: Verified) -> dict[str, Any]:
    """Return what stands in a receipt."""
    return {
        "nonce": verified.nonce,
        "state": verified.state,
        "items": [item._asdict() for item in verified.items],
    }


def cut_verified(verified: Verified) -> Verified:
    """Cut texts and list to their limits, as the rest of a receipt."""
    items = tuple(
        item._replace(
            kind=plain(item.kind, 16),
            state=plain(item.state, 16),
            event=plain(item.event, 32),
        )
        for item in verified.items[: len(KINDS)]
    )
    return Verified(plain(verified.nonce, 12), plain(verified.state, 16), items)
