"""Vault's HTTP API: every answer is a JSON object, or one of our errors.

hvac builds the requests. Its own errors know neither status nor headers, and five
statuses have none, so answers are told apart here, by status alone: servers differ in
their texts, and a text from outside might hold what must not be logged.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hvac
import requests
from hvac import exceptions as vault_errors
from hvac.adapters import RawAdapter

from agent.backoff import retry_after_seconds
from agent.errors import (
    REPORT,
    AgentError,
    CandidateRefused,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.source.bounds import ANSWER_SECONDS, CONNECT_SECONDS, READ_SECONDS
from agent.source.session import RedirectError, TooLargeError, VaultSession

if TYPE_CHECKING:
    from agent.settings import Settings

_POLICY = "resentry-agent check --policy prints the policy that the token needs"
_WRONG = "check RESENTRY_VAULT_ADDR and RESENTRY_VAULT_PATHS"
_DENIED = {
    400: ("Vault calls the request for {} wrong", _WRONG),
    401: ("Vault refuses {}", _POLICY),
    403: ("Vault refuses {}", _POLICY),
    405: ("Vault does not allow this for {}", _WRONG),
}
_ACTIVE = "point RESENTRY_VAULT_ADDR at the active cluster"
_DOWN = {
    412: ("Vault has not replicated what {} needs yet", ""),
    429: ("Vault limits the rate of {}", "raise its quota, or RESENTRY_POLL_SECONDS"),
    472: ("Vault is a disaster-recovery secondary", _ACTIVE),
    473: ("Vault is a performance standby that does not answer", _ACTIVE),
    501: ("Vault is not initialized", ""),
    503: ("Vault is sealed or in maintenance", ""),
}


class Api:
    """One Vault, asked through one session; `token` goes with every request."""

    def __init__(self, settings: Settings, user_agent: str) -> None:
        self._settings = settings
        self.session = VaultSession(settings, user_agent)
        self.client = hvac.Client(
            url=self.session.url,
            token="",  # never ~/.vault-token or VAULT_TOKEN
            namespace=settings.vault_namespace or None,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,  # the session follows one itself
            session=self.session,
            adapter=RawAdapter,
        )

    @property
    def token(self) -> str:
        """The token of the requests to come; empty for none."""
        return self.client.token or ""

    @token.setter
    def token(self, token: str) -> None:
        self.client.token = token

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the answer to a GET, or raise a `SourceError`."""
        return self._ask("get", path, params=params)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to a POST, or raise a `SourceError`."""
        return self._ask("post", path, json=body or {})

    def _ask(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        try:
            response = self.client.adapter.request(
                method, f"/v1/{quote(path)}", raise_exception=False, **kwargs
            )
        except TooLargeError:
            raise CandidateRefused(
                [f"the answer for {path} is larger than 2 MiB"], "too large"
            ) from None
        except RedirectError as error:
            raise SourceDown(f"Vault {error.why}", error.hint) from None
        except requests.RequestException as error:
            raise self._unanswered(error) from None
        except vault_errors.VaultError as error:  # hvac judges no answer here
            kind = type(error).__name__
            raise AgentError(
                f"the request for {path} failed in hvac: {kind}", REPORT
            ) from None
        version = (kwargs.get("params") or {}).get("version")
        return _answer(response, f"{path}?version={version}" if version else path)

    def _unanswered(self, error: requests.RequestException) -> SourceDown:
        """What to say of a request that got no answer."""
        settings = self._settings
        where = settings.vault_addr
        if self.session.bounds.is_over:
            return SourceDown(
                "no answer from Vault in the time that a pass may take",
                f"it is RESENTRY_PASS_SECONDS, now {settings.pass_seconds:g}",
            )
        if self.session.bounds.is_over_time:
            return SourceDown(
                f"the answer from {where} is not whole after {ANSWER_SECONDS:g} s",
                "what is between, or Vault itself, is too slow",
            )
        if reason := _tls_reason(error):
            return SourceDown(
                f"TLS with {where} fails: {reason}",
                "check RESENTRY_VAULT_CA, RESENTRY_VAULT_SERVER_NAME, both clocks, "
                "and the client's certificate if Vault wants one",
            )
        return SourceDown(
            f"Vault does not answer at {where}: {_reason(error)}",
            "check RESENTRY_VAULT_ADDR and the network",
        )


def _tls_reason(error: BaseException | None) -> str:
    """What our own TLS library says, if it is behind the error; else empty."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return getattr(error, "verify_message", "") or error.reason or "no TLS"
        error = error.__context__
    return ""


def _reason(error: requests.RequestException) -> str:
    """What the system says of the connection; else the kind of error."""
    found, cause = type(error).__name__, error.__context__
    while cause is not None:
        found = getattr(cause, "strerror", None) or found
        cause = cause.__context__
    return found


def _answer(response: requests.Response, path: str) -> dict[str, Any]:
    """Return the JSON object, whatever its content type; else raise by status."""
    status = response.status_code
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    if status == 204:
        return {}
    if status == 200:
        if isinstance(body, dict):
            return body
        raise SourceDown(f"the answer for {path} is not Vault's", "is a proxy there?")
    if status == 400 and body is None:  # what a TLS port says to plain HTTP
        hint = "does RESENTRY_VAULT_ADDR need https?"
        raise SourceDown(f"the answer for {path} is not Vault's", hint)
    if status in _DENIED:
        what, hint = _DENIED[status]
        raise SourceDenied(what.format(path), hint)
    if status == 404:
        raise SourceMissing(*_missing(path, body if isinstance(body, dict) else {}))
    what, hint = _DOWN.get(status, (f"Vault answers {{}} with status {status}", ""))
    after = retry_after_seconds(response.headers.get("Retry-After", ""))
    raise SourceDown(what.format(path), hint, retry_after=after)


def _missing(path: str, body: dict[str, Any]) -> tuple[str, str]:
    """Tell a deleted secret from one that never was: the deleted has metadata."""
    data = body.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if path.startswith(("auth/", "sys/")):
        hint = "check RESENTRY_VAULT_ADDR and RESENTRY_VAULT_NAMESPACE"
        return f"Vault has no {path}", hint
    if not isinstance(metadata, dict):
        hint = (
            "check RESENTRY_VAULT_PATHS, RESENTRY_VAULT_NAMESPACE and "
            "RESENTRY_VAULT_KV_VERSION"
        )
        return f"there is no secret at {path}", hint
    if metadata.get("destroyed"):
        return f"this version of {path} is destroyed", "write a new version"
    return f"this version of {path} is deleted", "undelete it, or write anew"
