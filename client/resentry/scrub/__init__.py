"""Takes secrets and personal data out of what is about to be sent, while PII is off.

The scrubber runs after the SDK's own EventScrubber and after the application's hooks, so
that it also scrubs what the hooks add. `docs/pii.md` says what is taken out.

Every `scrub_*` returns a copy where something differs and never changes its argument: a
hook may have put one of the application's own objects into the event. None of them raises.
A part that cannot be scrubbed is left out: an event without the part is better than no
event, and a leak is worse than both. Standard library only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resentry.harmless import say
from resentry.process import here
from resentry.scrub.parts import PARTS, SDKS_OWN, Item, Parts
from resentry.scrub.text import scrub_text
from resentry.scrub.walk import SIZE_LIMIT

Hook = Callable[[Any, Any], Any]
Part = Callable[[Parts, str, Any], Any]

_TELEMETRY = (
    *(("body", Parts.named), ("name", Parts.code), ("unit", Parts.named)),
    ("attributes", Parts.attributes),
)
_SPAN = (("name", Parts.code), ("attributes", Parts.attributes))

_logged: set[str] = set()


def scrub_event(event: Any) -> Item | None:
    """Return an event or a transaction without secrets; `None` for anything else."""
    if not isinstance(event, dict):
        return None
    parts = ((key, PARTS.get(key, Parts.named)) for key in event if key not in SDKS_OWN)
    return _scrub(event, parts)


def scrub_telemetry(item: Any) -> Item | None:
    """Return a log or a metric without secrets; `None` for anything else."""
    if not isinstance(item, dict):
        return None
    return _scrub(item, [part for part in _TELEMETRY if part[0] in item])


def scrub_span(span: Any) -> Item | None:
    """Return a streamed span without secrets in its name and attributes."""
    if not isinstance(span, dict):
        return None
    return _scrub(span, [part for part in _SPAN if part[0] in span])


@dataclass(frozen=True)
class behind:  # noqa: N801 - a function, but for `pickle` and `copy`
    """A hook that calls the application's own hook, then scrubs what that returned.

    If the own hook returns `None` or raises, the SDK drops the item, as without us.
    """

    own: Hook | None
    scrub: Callable[[Any], Any]

    def __call__(self, item: Any, hint: Any) -> Any:
        """Return the item as it may be sent."""
        __tracebackhide__ = True  # the SDK leaves it out of stack traces
        return self.scrub(item if self.own is None else self.own(item, hint))


class behind_span(behind):  # noqa: N801 - as above
    """Like `behind`. If the own hook fails, the SDK keeps the span as it was."""

    def __call__(self, item: Any, hint: Any) -> Any:
        """Return the span as it may be sent."""
        __tracebackhide__ = True
        try:
            given = item if self.own is None else self.own(_copied(item), hint)
        except Exception:  # noqa: BLE001 - the application's, and silent in the SDK
            given = item
        usable = isinstance(given, dict) and "name" in given
        return self.scrub(given if usable else item)


def _copied(span: Any) -> Any:
    """Return a copy of the span, so that changes do not reach the original."""
    if not isinstance(span, dict) or not isinstance(span.get("attributes"), dict):
        return span
    return {**span, "attributes": dict(span["attributes"])}


_HOOKS: Mapping[str, Callable[[Any], Any]] = {
    "before_send": scrub_event,
    "before_send_transaction": scrub_event,
    "before_send_log": scrub_telemetry,
    "before_send_metric": scrub_telemetry,
    "before_send_span": scrub_span,
}
"""The SDK's hooks that see an item last. `before_breadcrumb` is not among them: the event's
`before_send` sees the breadcrumbs again, and so they stay cheap."""


def hooks(options: Mapping[str, Any], places: Mapping[str, bool]) -> dict[str, Any]:
    """Return the options that run the scrubber after the application's own hooks.

    Args:
        options: the application's own options.
        places: the hooks that this SDK calls. The value is true for an option, and false
            for an entry of `_experiments`.

    """
    experiments = dict(options.get("_experiments") or {})
    wrapped: dict[str, Any] = {}
    for name, is_option in places.items():
        own = options.get(name)
        if own is None and name not in ("before_send", "before_send_transaction"):
            own = experiments.get(name)
        wrap = behind_span if name == "before_send_span" else behind
        (wrapped if is_option else experiments)[name] = wrap(own, _HOOKS[name])
    if experiments:
        wrapped["_experiments"] = experiments
    return wrapped


def _scrub(item: Item, parts: Iterable[tuple[str, Part]]) -> Item:
    out, walk = dict(item), Parts()
    for key, scrub in parts:
        walk.left = SIZE_LIMIT
        try:
            out[key] = scrub(walk, key, item[key])
        except Exception as error:  # noqa: BLE001 - the application's value
            del out[key]
            _log_once(scrub_text(key) if type(key) is str else "a part", error)
    return out


def _log_once(where: str, error: Exception) -> None:
    """Count the error, and log its class once. Its message may quote a secret."""
    here().tally.faults += 1
    if where not in _logged and len(_logged) < 100:
        _logged.add(where)
        name = type(error).__name__
        text = "resentry: %s while scrubbing %s: the event is sent without that part"
        say(logging.WARNING, text, name, where)
