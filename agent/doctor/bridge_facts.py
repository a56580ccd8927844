"""What the rules on the bridge look at: its own status, and what Sentry's API tells of it."""

from __future__ import annotations

import ipaddress
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.errors import AgentError
from agent.web import get

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.settings import Settings

SECONDS = 5.0
STATUS_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """What is known of the bridge whose settings these are."""

    status: Mapping[str, Any] | None = None
    """What the bridge says; `None` if it does not answer."""
    why: str = ""
    """Why it does not."""
    addresses: tuple[str, ...] = ()
    """The IP addresses of the name in RESENTRY_BRIDGE_URL, as seen from here."""
    why_no_address: str = ""
    installations: Mapping[str, str] | None = None
    """The state of each integration of the organization; `None` if nobody was asked."""
    why_no_installations: str = ""


def ask_bridge(settings: Settings, *, offline: bool) -> BridgeFacts | None:
    """Return the facts; `None` if no bridge is configured here."""
    if not settings.bridge_alertmanagers:
        return None
    status, why = _status(settings)
    if offline:
        return BridgeFacts(status, why)
    addresses, why_no_address = _addresses(settings.bridge_url)
    installations, why_none = _installations(settings)
    return BridgeFacts(status, why, addresses, why_no_address, installations, why_none)


def _status(settings: Settings) -> tuple[Mapping[str, Any] | None, str]:
    if settings.http_listen is None:
        return None, "RESENTRY_HTTP_LISTEN is off"
    url = f"http://{settings.http_listen}/status"
    try:
        status, body = get(url, {}, SECONDS, STATUS_BYTES)
        found = json.loads(body) if status == 200 else None
    except (OSError, ValueError) as error:
        return None, f"{url}: {error}"
    if not isinstance(found, dict) or "alertmanagers" not in found:
        return None, f"{url} is no bridge's (HTTP status {status})"
    return found, ""


def _addresses(url: str) -> tuple[tuple[str, ...], str]:
    host = urlsplit(url).hostname
    if not host:
        return (), ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return (), f"{host}: {error.strerror or error}"
    return tuple(sorted({str(each[4][0]) for each in found})), ""


def is_refused_address(text: str) -> bool:
    """Whether Sentry calls no such IP address: it is not one of the public internet."""
    try:
        return not ipaddress.ip_address(text.partition("%")[0]).is_global
    except ValueError:
        return False


def _installations(settings: Settings) -> tuple[dict[str, str] | None, str]:
    if not (settings.bridge_integration and settings.sentry_api):
        return None, ""
    from agent.sentry_api.client import SentryApi, Subject  # noqa: PLC0415 - with requests
    from agent.source.login import credential  # noqa: PLC0415

    try:
        file = settings.sentry_token_file
        token = credential(settings.sentry_token, file, "sentry_token_file").strip()
        api = SentryApi(settings.sentry_api, token, Subject("integrations", "org:read"))
        organization = settings.sentry_organization
        found = api.all("organizations", organization, "sentry-app-installations")
        return {str(each["app"]["slug"]): str(each["status"]) for each in found}, ""
    except (AgentError, KeyError, TypeError) as error:
        return None, str(error)
