"""The snapshot, as the volume holds it. Import it from `resentry.contract`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from resentry import formats
from resentry.schema import SCHEMA, ContractError, read_object
from resentry.tuning import (
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Rule,
    read_items,
    without_none,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS_FILE = "settings.json"
NAMED_LIMIT = 16
"""At most this many unknown fields are named."""
NAME_LIMIT = 64
"""Characters of such a name, and of every name in a receipt's lists."""
SETTINGS_LIMIT_BYTES = 1024 * 1024
"""No reader takes a larger snapshot, and no writer makes one."""
ROLES_LIMIT = 32
RULES_LIMIT = 200
BOOSTS_LIMIT = 100
"""Half of them are for the source, half for operators."""
CEILINGS_LIMIT = 100
"""Half of them, as with boosts."""
ERROR_RULES_LIMIT = 100
BUDGETS_LIMIT = 33
"""One for each role, and one for all others."""
_VALUES_LIMIT = 64
"""Values of the shared settings, or of one role."""
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One validated, immutable set of Sentry settings, as the volume holds it.

    `revision` names the content (settings, roles, and each kind of `TUNING`): equal
    content has an equal revision. `sequence` counts the snapshots of one volume.
    `judged_by` is the environment of the agent that judged it; older agents do not say.
    `ignored` names the fields of rules, boosts and the like that this reader does not know.
    """

    settings: Mapping[str, Any]
    roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    boosts: tuple[Boost, ...] = ()
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    revision: str = ""
    sequence: int = 0
    published_at: str = ""
    judged_by: str = ""
    ignored: tuple[str, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    errors: tuple[ErrorRule, ...] = ()
    budgets: tuple[Budget, ...] = ()

    def content(self) -> dict[str, Any]:
        """Return what the revision is computed from."""
        tuned = {name: getattr(self, name) for name in TUNING}
        return {
            "schema": SCHEMA,
            "settings": dict(self.settings),
            "roles": {role: dict(values) for role, values in self.roles.items()},
            # What an older agent does not write is absent if empty: the revision stays.
            **{
                name: [without_none(item) for item in items]
                for name, items in tuned.items()
                if items or name in _ALWAYS
            },
        }

    def is_same(self, other: Snapshot) -> bool:
        """Whether both have equal content, and were judged by the same environment."""
        mine, others = (
            (self.content(), self.judged_by),
            (other.content(), other.judged_by),
        )
        return mine == others


def revision_of(snapshot: Snapshot) -> str:
    """Return the revision: the first 12 hexadecimal digits of the content's SHA-256."""
    canonical = json.dumps(snapshot.content(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the content of `settings.json`.

    Raises `ContractError` if `decode_snapshot` would not return the same snapshot.
    """
    content = snapshot.content()
    document = {
        "schema": content.pop("schema"),
        "revision": snapshot.revision,
        "sequence": snapshot.sequence,
        "published_at": snapshot.published_at,
        "judged_by": snapshot.judged_by,
        **content,
        "provenance": {key: dict(where) for key, where in snapshot.provenance.items()},
    }
    try:
        # Not escaped: a character then takes at most 4 bytes instead of 12.
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        body = text.encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        raise ContractError("the snapshot has a value that is not JSON") from None
    if decode_snapshot(body) != replace(snapshot, ignored=()):
        raise ContractError("the snapshot would not be read as it was written")
    return body


def decode_snapshot(body: bytes) -> Snapshot:
    """Read `settings.json`, or raise `ContractError` without quoting its content."""
    if len(body) > SETTINGS_LIMIT_BYTES:
        raise ContractError(f"{SETTINGS_FILE} is larger than 1 MiB, which is the limit")
    document = read_object(body, SETTINGS_FILE)
    try:
        tuned: dict[str, Any] = {}
        ignored: tuple[str, ...] = ()
        _at_most(ROLES_LIMIT, "roles", document["roles"])
        for name, (kind, limit) in TUNING.items():
            items = document[name] if name in _ALWAYS else document.get(name, [])
            _at_most(limit, name, items)
            tuned[name], later = read_items(kind, items)
            ignored += _named(name, later)
        provenance = _typed(dict, document.get("provenance", {}))
        return Snapshot(
            settings=_values(document["settings"]),
            roles={
                formats.role(role): _values(own)
                for role, own in _typed(dict, document["roles"]).items()
            },
            **tuned,
            provenance={key: _typed(dict, each) for key, each in provenance.items()},
            revision=_typed(str, document["revision"]),
            sequence=_typed(int, document["sequence"]),
            published_at=_typed(str, document["published_at"]),
            judged_by=_typed(str, document.get("judged_by", "")),
            ignored=ignored,
        )
    except ContractError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ContractError(f"{SETTINGS_FILE} is not a snapshot") from None


TUNING: Mapping[str, tuple[type[Any], int]] = {
    "rules": (Rule, RULES_LIMIT),
    "boosts": (Boost, BOOSTS_LIMIT),
    "ceilings": (Ceiling, CEILINGS_LIMIT),
    "errors": (ErrorRule, ERROR_RULES_LIMIT),
    "budgets": (Budget, BUDGETS_LIMIT),
}
"""The kind of each list of a snapshot, and how many items it may have."""
SETTING = "RESENTRY_{}"
"""The key of a source that holds such a list, by its name in capitals."""
_ALWAYS = ("rules", "boosts")
"""The lists that every snapshot has had from the beginning."""


def _at_most(limit: int, name: str, items: Any) -> None:
    if len(items) > limit:
        raise ContractError(f"{SETTINGS_FILE} has more than {limit} {name}")


def _values(given: Any) -> dict[str, Any]:
    """Return settings whose names can be names of files, and whose values are single.

    Whether a value is good is judged later, where the error can name its key.
    """
    values = _typed(dict, given)
    for name, value in values.items():
        is_single = type(value) in (str, int, float, bool)
        if not is_single or not _KEY.match(name) or len(values) > _VALUES_LIMIT:
            raise ValueError("not settings")
    if type(values.get("SENTRY_DSN", "")) is not str:
        raise ValueError("the DSN is not text")
    return values


def _typed(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise ValueError("not of its type")
    return value


def _named(place: str, names: list[str]) -> tuple[str, ...]:
    """Return the fields' names; `?` if a name looks like a value, which may be secret."""
    shown = [name if _FIELD.match(name) else "?" for name in names]
    return tuple(f"{place}.{name}" for name in dict.fromkeys(shown))[:NAMED_LIMIT]
