"""The snapshot, as the volume holds it. Import it from `resentry.contract`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from resentry import formats
from resentry.schema import SCHEMA, ContractError, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
_VALUES_LIMIT = 64
"""Values of the shared settings, or of one role."""
_ID_LIMIT = 64
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


class Rule(NamedTuple):
    """The trace rate of each transaction that `match` fits, in one role or in all roles."""

    match: str
    traces: float
    role: str | None = None


class Boost(NamedTuple):
    """A trace rate that ends by itself at `until`: ISO text, as `2026-11-24T06:15:00Z`."""

    id: str
    traces: float
    until: str
    match: str | None = None
    role: str | None = None


Item = TypeVar("Item", Rule, Boost)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One validated, immutable set of Sentry settings, as the volume holds it.

    `revision` names the content (settings, roles, rules, boosts): equal content has an
    equal revision. `sequence` counts the snapshots of one volume. `judged_by` is the
    environment of the agent that judged it; older agents do not say. `ignored` names the
    fields of rules and boosts that this reader does not know.
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

    def content(self) -> dict[str, Any]:
        """Return what the revision is computed from."""
        return {
            "schema": SCHEMA,
            "settings": dict(self.settings),
            "roles": {role: dict(values) for role, values in self.roles.items()},
            "rules": [_without_none(rule) for rule in self.rules],
            "boosts": [_without_none(boost) for boost in self.boosts],
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
        for name, limit in _LIMITS.items():
            if len(document[name]) > limit:
                raise ContractError(f"{SETTINGS_FILE} has more than {limit} {name}")
        rules, later_in_rules = read_items(Rule, document["rules"])
        boosts, later_in_boosts = read_items(Boost, document["boosts"])
        provenance = _typed(dict, document.get("provenance", {}))
        return Snapshot(
            settings=_values(document["settings"]),
            roles={
                formats.role(role): _values(own)
                for role, own in _typed(dict, document["roles"]).items()
            },
            rules=rules,
            boosts=boosts,
            provenance={key: _typed(dict, each) for key, each in provenance.items()},
            revision=_typed(str, document["revision"]),
            sequence=_typed(int, document["sequence"]),
            published_at=_typed(str, document["published_at"]),
            judged_by=_typed(str, document.get("judged_by", "")),
            ignored=_named("rules", later_in_rules) + _named("boosts", later_in_boosts),
        )
    except ContractError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ContractError(f"{SETTINGS_FILE} is not a snapshot") from None


_LIMITS = {"roles": ROLES_LIMIT, "rules": RULES_LIMIT, "boosts": BOOSTS_LIMIT}


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


def read_items(kind: type[Item], items: Any) -> tuple[tuple[Item, ...], list[str]]:
    """Read rules or boosts; return them, and the names of unknown fields.

    A newer version may add fields: they are skipped. An item with an unknown field that
    lacks a field needed here is of a newer kind: the whole item is skipped. A malformed
    item raises `ValueError`, `TypeError` or `AttributeError`.
    """
    items_read: list[Item] = []
    unknown: dict[str, None] = {}
    for item in items:
        known = item.keys() & set(kind._fields)
        later = sorted(item.keys() - known)
        unknown.update(dict.fromkeys(later))
        try:
            read = kind(**{name: item[name] for name in known})
        except TypeError:
            if not later:
                raise
            continue
        check(read)
        items_read.append(read)
    return tuple(items_read), list(unknown)


def check(item: Rule | Boost) -> None:
    """Raise `ValueError` if a field does not have its form. No value is quoted."""
    traces: object = item.traces
    # Elsewhere a rate may be text; in a rule or boost it must be a number.
    formats.rate(None if isinstance(traces, str) else traces)
    if isinstance(item, Rule) or item.match is not None:
        _field("match", formats.words, item.match, formats.MATCH_LIMIT)
    if item.role is not None:
        _field("role", formats.role, item.role)
    if isinstance(item, Boost):
        _field("until", formats.moment, item.until)
        _field("id", formats.words, item.id, _ID_LIMIT)


def _field(name: str, read: Callable[..., object], *given: object) -> None:
    try:
        read(*given)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _typed(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise ValueError("not of its type")
    return value


def _named(place: str, names: list[str]) -> tuple[str, ...]:
    """Return the fields' names; `?` if a name looks like a value, which may be secret."""
    shown = [name if _FIELD.match(name) else "?" for name in names]
    return tuple(f"{place}.{name}" for name in dict.fromkeys(shown))[:NAMED_LIMIT]


def _without_none(item: Rule | Boost) -> dict[str, Any]:
    values = item._asdict().items()
    return {name: value for name, value in values if value is not None}
