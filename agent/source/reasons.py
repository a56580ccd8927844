"""Says why there is no answer from Vault, and what to do about it."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

from urllib3.exceptions import DecodeError, ReadTimeoutError

from agent.errors import SourceDown
from agent.source.bounds import ANSWER_SECONDS

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source.bounds import Bounds

_NETWORK = "check RESENTRY_VAULT_ADDR and the network"
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""What our TLS library says when the other side does not speak TLS."""
_ALERTS = ("ALERT_CERTIFICATE", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_REQUIRED")
"""Parts of the alerts by which a server refuses a client's certificate."""


def unanswered(error: BaseException, settings: Settings, bounds: Bounds) -> SourceDown:
    """Return the error for a request without an answer."""
    address = settings.shown_addr
    if bounds.is_over:
        return SourceDown(
            "no answer from Vault in the time that a pass may take",
            f"check Vault and the network; RESENTRY_PASS_SECONDS sets the time, now "
            f"{settings.pass_seconds:g} s",
        )
    if bounds.is_over_time:
        return SourceDown(
            f"the answer from {address} is not complete after {ANSWER_SECONDS:g} s",
            "check the load of Vault, and proxies between the agent and Vault",
        )
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            reason, hint = _tls(cause, settings)
            return SourceDown(f"TLS with {address} fails: {reason}", hint)
    return SourceDown(f"Vault does not answer at {address}: {_reason(error)}", _NETWORK)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and all that led to it: urllib3 sets cause and context apart."""
    causes = [error]
    for each in causes:
        for before in (each.__cause__, each.__context__):
            if before is not None and before not in causes:
                causes.append(before)
    return causes


def _reason(error: BaseException) -> str:
    """Return the system's reason of a failed connection; else the class of the error."""
    reason = type(error).__name__
    for cause in _causes(error):
        if isinstance(cause, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
        if isinstance(cause, http.client.IncompleteRead):
            return "the answer breaks off"
        if isinstance(cause, ReadTimeoutError):
            return "it took the connection, and gives no answer in time: Vault hangs"
        if isinstance(cause, DecodeError):
            return "the answer is compressed, and cannot be unpacked"
        if isinstance(cause, http.client.HTTPException):
            return "the answer is not HTTP: check whether the address needs https"
        reason = getattr(cause, "strerror", None) or reason
    return reason


def _tls(error: ssl.SSLError, settings: Settings) -> tuple[str, str]:
    """Return why TLS fails, and a hint."""
    reason = getattr(error, "verify_message", "") or error.reason or ""
    if reason in _NO_TLS:
        return (
            "the server does not speak TLS at this port",
            "write RESENTRY_VAULT_ADDR with http, or name the port that has TLS",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            reason,
            (
                "check RESENTRY_VAULT_CA, RESENTRY_VAULT_SERVER_NAME, and the clocks of both "
                "sides"
            ),
        )
    is_refused = any(alert in reason for alert in _ALERTS)
    if not is_refused and reason not in ("", "SSLV3_ALERT_HANDSHAKE_FAILURE"):
        return reason, f"{_NETWORK}, and proxies between the agent and Vault"
    why = f" ({reason})" if reason else ""  # with TLS 1.3 it just hangs up
    if settings.vault_client_cert:
        return (
            f"the server refuses the client certificate, or hung up{why}",
            (
                "check the authority, the expiry and the purpose of "
                "RESENTRY_VAULT_CLIENT_CERT"
            ),
        )
    return (
        f"the server hung up: it may require a client certificate{why}",
        (
            "set RESENTRY_VAULT_CLIENT_CERT and RESENTRY_VAULT_CLIENT_KEY, if Vault wants a "
            "certificate; check that it offers TLS 1.2 or newer"
        ),
    )
