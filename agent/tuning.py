"""Reads and shows what an operator asks for: a boost, or a ceiling. Both end by themselves."""

from __future__ import annotations

import secrets
import time
from typing import Any

from agent.domain.guard_rails import BOOST_SECONDS
from agent.domain.structured import check_match, role_name
from agent.domain.value import Value
from resentry import formats
from resentry.contract import KEEP, Boost, Ceiling, time_text


class Scope(Value, frozen=True):
    """What a boost or a ceiling is for, and for how long."""

    seconds: float
    role: str | None
    match: str | None

    def until(self, now: float) -> str:
        """Return when it ends."""
        return time_text(now + self.seconds, "seconds")


def read_scope(request: dict[str, Any]) -> Scope:
    """Return what a boost or a ceiling is for.

    Raises `ValueError` for what is wrong whatever the settings of the agent are.
    """
    try:
        seconds = formats.number(request["seconds"])
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= BOOST_SECONDS:
        raise ValueError("--for must be more than 0 s and at most one day (24h)")
    role = request.get("role")
    try:
        role = None if role is None else role_name(role)
    except ValueError as error:
        raise ValueError(f"--role {error}") from None
    match = request.get("match")
    try:
        check_match(match)
    except ValueError as error:
        raise ValueError(f"--{error}") from None
    return Scope(seconds, role, match)


def read_boost(request: dict[str, Any]) -> Boost:
    """Return a new boost that begins now, or raise `ValueError` as `read_scope` does."""
    scope = read_scope(request)
    return Boost(
        id=secrets.token_hex(3),
        traces=_rate(request, "traces"),
        until=scope.until(time.time()),
        match=scope.match,
        role=scope.role,
        parent=KEEP if request.get("keep_parent") else None,
    )


def read_ceiling(request: dict[str, Any]) -> Ceiling:
    """Return a new ceiling that begins now, or raise `ValueError` as `read_scope` does."""
    scope = read_scope(request)
    rates = {
        name: _rate(request, name)
        for name in ("traces", "errors")
        if request.get(name) is not None
    }
    if not rates:
        raise ValueError("--traces or --errors is needed")
    return Ceiling(
        **rates,
        until=scope.until(time.time()),
        match=scope.match,
        role=scope.role,
        id=secrets.token_hex(3),
    )


def shown(item: Boost | Ceiling) -> str:
    """Return a boost or a ceiling in words."""
    if isinstance(item, Boost):
        rates = f"traces {item.traces:g}"
    else:
        bounds = (("traces", item.traces), ("errors", item.errors))
        rates = ", ".join(
            f"{name} at most {rate:g}" for name, rate in bounds if rate is not None
        )
    until = f"until {item.until}" if item.until else "without an end"
    whose = f", operator's {item.id}" if item.id else ""
    what, where = item.match or "everything", item.role or "every role"
    return f"{rates} for {what} in {where}, {until}{whose}"


def _rate(request: dict[str, Any], name: str) -> float:
    try:
        return formats.rate(request[name])
    except ValueError as error:
        raise ValueError(f"--{name} {error}") from None
