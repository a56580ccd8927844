"""Rules on the bridge: whether it runs, and whether Sentry reaches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.doctor.bridge_facts import BridgeFacts, is_refused_address
from agent.doctor.rule import Sight, SkippedError, UnknownError, rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.doctor.facts import Facts

_QUIET_SECONDS = 86_400.0
_WEBHOOKS = "Sentry's webhooks"


def _bridge(facts: Facts) -> BridgeFacts:
    if facts.bridge is None:
        raise SkippedError(
            "no bridge is configured here (RESENTRY_BRIDGE_ALERTMANAGERS)"
        )
    return facts.bridge


def status_of(facts: Facts) -> Mapping[str, Any]:
    """Return what the bridge says. The rule is unknown if it does not answer."""
    bridge = _bridge(facts)
    if bridge.status is None:
        raise UnknownError(f"the bridge does not answer: {bridge.why}")
    return bridge.status


@rule(
    "RSN971",
    "bridge-away",
    "error",
    "bridge",
    "The bridge does not answer",
    fix="read the log of its container, then restart it; by hand: `resentry-agent bridge`",
)
def away(facts: Facts) -> Iterator[Sight]:
    """Ask the bridge for its status, at RESENTRY_HTTP_LISTEN.

    While no bridge runs, Sentry's webhooks are lost, and open alerts end by themselves in
    Alertmanager after an hour. The bridge's alerts are on its volume, and it posts them again
    when it starts.

    Wake who runs the bridge.
    """
    bridge = _bridge(facts)
    if bridge.status is None:
        yield Sight("the bridge", bridge.why)


@rule(
    "RSN972",
    "bridge-address",
    "warning",
    "bridge",
    "Sentry cannot reach the webhook's address",
    fix="give the bridge a public https address, set it in Sentry's integration and in RESENTRY_BRIDGE_URL",
)
def address(facts: Facts) -> Iterator[Sight]:
    """Look at RESENTRY_BRIDGE_URL, which is the webhook URL of the integration in Sentry.

    Sentry calls no private address, and no name without a dot, and says so nowhere. The name
    is resolved from here: another name server may give Sentry another address. A Sentry of
    your own may be allowed to call private addresses: then leave RESENTRY_BRIDGE_URL unset.

    Wake who runs the bridge, if no canary comes back.
    """
    bridge, url = _bridge(facts), facts.settings.bridge_url
    if not url:
        raise SkippedError("RESENTRY_BRIDGE_URL is not set")
    parts = urlsplit(url)
    host = parts.hostname or ""
    if "." not in host and ":" not in host:
        yield Sight(
            url, f"{host} has no dot: Sentry refuses such a name", severity="error"
        )
    elif is_refused_address(host):
        yield Sight(url, f"{host} is not public: Sentry refuses it", severity="error")
    elif bridge.why_no_address:
        yield Sight(url, f"the name cannot be resolved: {bridge.why_no_address}")
    elif bridge.addresses and all(map(is_refused_address, bridge.addresses)):
        named = ", ".join(bridge.addresses)
        yield Sight(url, f"from here its address is {named}, which is not public")
    elif parts.scheme != "https":
        yield Sight(url, "a webhook over http can be read on the way: use https")
    elif parts.path.rstrip("/") != "/sentry":
        yield Sight(url, f"the bridge serves /sentry, not {parts.path or '/'}")


@rule(
    "RSN973",
    "bridge-secret",
    "warning",
    "bridge",
    "Webhooks are refused: they are signed with another secret",
    fix="copy the client secret of the integration in Sentry to the file of RESENTRY_BRIDGE_SECRET_FILE; no restart is needed",
    causes=("RSN971",),
)
def secret(facts: Facts) -> Iterator[Sight]:
    """Look for a wrong signature that came after the newest webhook with a right one.

    Somebody has replaced the client secret in Sentry, or a stranger sends requests. If no
    webhook ever had a right signature, this is an error.

    Wake who owns the integration in Sentry, if no webhook has a right signature.
    """
    status = status_of(facts)
    wrong_at, newest = status["wrong_signature_at"], _newest(status)
    if wrong_at and wrong_at > newest:
        last = f"the last right one: {newest or 'never'}"
        yield Sight(
            _WEBHOOKS,
            f"{status['wrong_signatures']} with a wrong signature; {last}",
            since=wrong_at,
            severity=None if newest else "error",
        )


@rule(
    "RSN974",
    "bridge-quiet",
    "warning",
    "bridge",
    "No webhook has come for a long time",
    fix="send a test event with an alert rule on it, or set RESENTRY_BRIDGE_CANARY_DSN_FILE",
    causes=("RSN971", "RSN972", "RSN973", "RSN976"),
)
def quiet(facts: Facts) -> Iterator[Sight]:
    """Look when the newest webhook came. With a canary, RSN975 tells more.

    A service without errors is quiet, too. Sentry switches an integration off without a
    notice when the bridge was too slow too often.
    """
    status = status_of(facts)
    if status["canary"] is not None:
        raise SkippedError("a canary is sent")
    newest = _newest(status)
    age = facts.seconds_since(newest)
    if age is None:
        yield Sight(_WEBHOOKS, "none has ever come")
    elif age > _QUIET_SECONDS:
        yield Sight(_WEBHOOKS, f"the newest came {age / 3600:.0f} h ago", since=newest)


@rule(
    "RSN975",
    "canary-missing",
    "error",
    "bridge",
    "The canary has not come back through Sentry",
    fix="look in Sentry for the event and for its alert rule; then at the integration's request log, and switch its webhooks on again",
    causes=("RSN971", "RSN972", "RSN973", "RSN976"),
)
def canary_missing(facts: Facts) -> Iterator[Sight]:
    """Ask the bridge when the last canary came back.

    No alert of Sentry can be trusted to come. Either Sentry does not accept the event, or
    the alert rule is gone, or the integration was switched off, or its webhook does not
    reach the bridge.

    Wake who runs Sentry's alerts.
    """
    canary = _canary(status_of(facts))
    if canary["missing"]:
        why = canary["reason"]
        detail = (
            f"Sentry does not accept it: {why}" if why else "its webhook did not come"
        )
        yield Sight("the canary", detail, since=canary["arrived"] or "")


@rule(
    "RSN976",
    "integration-off",
    "error",
    "bridge",
    "The integration is not installed in Sentry",
    fix="install the internal integration again, or correct RESENTRY_BRIDGE_INTEGRATION",
)
def integration_off(facts: Facts) -> Iterator[Sight]:
    """Ask Sentry's API for the integrations of the organization.

    This needs RESENTRY_BRIDGE_INTEGRATION, RESENTRY_SENTRY_API, RESENTRY_SENTRY_ORGANIZATION
    and a token with `org:read`. The API does not tell whether webhooks are switched off: only
    a canary does.

    Wake who owns the integration in Sentry.
    """
    bridge, name = _bridge(facts), facts.settings.bridge_integration
    if bridge.why_no_installations:
        raise UnknownError(bridge.why_no_installations)
    if bridge.installations is None:
        raise SkippedError(
            "RESENTRY_BRIDGE_INTEGRATION or RESENTRY_SENTRY_API is not set"
        )
    state = bridge.installations.get(name)
    if state is None:
        known = ", ".join(sorted(bridge.installations)) or "none"
        yield Sight(name, f"the organization has no such integration; it has: {known}")
    elif state != "installed":
        yield Sight(name, f"its state is {state}")


@rule(
    "RSN980",
    "no-canary",
    "info",
    "bridge",
    "Nobody would notice that webhooks have stopped",
    fix="make a rule in Sentry as in examples/lms/canary.toml, and set RESENTRY_BRIDGE_CANARY_DSN_FILE",
    causes=("RSN971",),
)
def no_canary(facts: Facts) -> Iterator[Sight]:
    """Look whether the bridge sends a canary through Sentry.

    Sentry switches webhooks off without a notice, and sends none of them again. A way on which
    nothing comes looks like a service without errors.
    """
    if status_of(facts)["canary"] is None:
        yield Sight("the bridge", "it sends no canary")


def _newest(status: Mapping[str, Any]) -> str:
    """Return when the newest webhook with a right signature came; empty for never."""
    return max(
        (str(each["newest"]) for each in status["webhooks"].values()), default=""
    )


def _canary(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = status["canary"]
    if found is None:
        raise SkippedError("no canary is sent")
    return found
