"""Vault's HTTP API. Every answer is a JSON object or one of our errors.

hvac builds the requests. Its errors have neither status nor headers, and five statuses
have no error. So this module judges answers itself, by status alone: the texts of servers
differ, and might hold secrets, which must not be logged.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from hvac import exceptions as vault_errors
from hvac.adapters import RawAdapter
from urllib3 import Timeout

from agent.backoff import retry_after_seconds
from agent.domain.bounded_json import TooManyError, loads
from agent.errors import (
    REPORT,
    UNDELETE,
    AgentError,
    CandidateRefused,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.source.answer import TooLargeError
from agent.source.bounds import CONNECT_SECONDS, READ_SECONDS
from agent.source.reasons import unanswered
from agent.source.session import RedirectError, VaultSession

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source.answer import Answer

_REQUEST = re.compile(rb'\{"request_id":"[0-9a-f-]{36}",')
"""How each answer of Vault begins."""
_POLICY = "resentry-agent check --policy prints the Vault policy that the token needs"
_FOREIGN = "the answer for {} is not Vault's"
_WRONG = "check RESENTRY_VAULT_ADDR and RESENTRY_VAULT_PATHS"
_DENIED = {
    400: ("Vault rejected the request for {} as invalid (400)", _WRONG),
    401: ("Vault denies access to {} (401)", _POLICY),
    403: ("Vault denies access to {} (403)", _POLICY),
    405: ("Vault does not allow this request for {} (405)", _WRONG),
}
_ACTIVE = "set RESENTRY_VAULT_ADDR to the active cluster"
_WAIT = "nothing is to be done; the agent tries again soon"
_DOWN = {
    412: ("Vault has not yet replicated the data that {} needs (412)", _WAIT),
    429: (
        "Vault limits the rate of requests for {} (429)",
        "raise the rate limit quota in Vault, or RESENTRY_POLL_SECONDS",
    ),
    472: ("Vault is a disaster-recovery secondary (472)", _ACTIVE),
    473: ("Vault is a performance standby that does not answer (473)", _ACTIVE),
    501: ("Vault is not initialized (501)", "initialize and unseal Vault"),
    503: ("Vault is sealed or in maintenance (503)", "unseal Vault"),
}


class Api:
    """One Vault, asked through one session. `token` is sent with every request."""

    def __init__(self, settings: Settings, user_agent: str) -> None:
        self._settings = settings
        self.session = VaultSession(settings, user_agent)
        self.adapter = RawAdapter(
            base_uri=self.session.url,
            token="",  # never ~/.vault-token or VAULT_TOKEN
            namespace=settings.vault_namespace or None,
            timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            allow_redirects=False,  # the session follows one redirect itself
            session=self.session,
        )

    @property
    def token(self) -> str:
        """The token of the next requests; empty for none."""
        return self.adapter.token or ""

    @token.setter
    def token(self, token: str) -> None:
        self.adapter.token = token

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """Return the answer to a GET, or raise a `SourceError`."""
        return self._ask("get", path, params=params)

    def get_new(
        self, path: str, params: dict[str, str] | None, seen: bytes
    ) -> tuple[dict[str, Any] | None, bytes]:
        """Return the answer to a GET with its digest, or raise a `SourceError`.

        The answer is `None` if its digest is `seen`: only the id of the request differs
        then. The digest is empty if the id is not where Vault writes it.
        """
        response = self._response("get", path, params=params)
        digest = _digest(response.content) if response.status_code == 200 else b""
        if digest and digest == seen:
            return None, digest
        return self._judged(response, path, params), digest

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to a POST, or raise a `SourceError`."""
        return self._ask("post", path, json=body or {})

    def _ask(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        response = self._response(method, path, **kwargs)
        return self._judged(response, path, kwargs.get("params"))

    def _response(self, method: str, path: str, **kwargs: Any) -> Answer:
        try:
            response: Answer = self.adapter.request(
                method, _url(path), raise_exception=False, **kwargs
            )
        except TooLargeError:
            raise CandidateRefused(
                [f"Vault's answer for {path} is larger than 2 MiB, which is the limit"],
                "too large",
            ) from None
        except RedirectError as error:
            raise SourceDown(f"Vault {error.why}", error.hint) from None
        except requests.RequestException as error:
            raise unanswered(error, self._settings, self.session.bounds) from None
        except vault_errors.VaultError as error:  # hvac judges no answer here
            kind = type(error).__name__
            raise AgentError(
                f"the request for {path} failed in hvac: {kind}", REPORT
            ) from None
        return response

    def _judged(
        self, response: Answer, path: str, params: dict[str, str] | None
    ) -> dict[str, Any]:
        version = (params or {}).get("version")
        try:
            return _answer(response, f"{path}?version={version}" if version else path)
        except AgentError as error:
            self.session.close()  # another server may answer the next connection
            below = urlsplit(self.session.url).path.strip("/")
            if isinstance(error, SourceMissing) and below:
                error.hint += (
                    f"; RESENTRY_VAULT_ADDR ends with /{below}: is Vault there?"
                )
            raise


@lru_cache(maxsize=64)
def _url(path: str) -> str:
    return f"/v1/{quote(path)}"


def _digest(body: bytes) -> bytes:
    """Return a digest of an answer without the id of its request, which is always new."""
    request = _REQUEST.match(body)
    return hashlib.sha256(body[request.end() :]).digest() if request else b""


def _answer(response: Answer, path: str) -> dict[str, Any]:
    """Return the JSON object, whatever its content type, or raise by status."""
    status = response.status_code
    try:
        body = loads(response.content)
    except TooManyError:
        raise CandidateRefused(
            [f"Vault's answer for {path} holds too many values"], "too large"
        ) from None
    except ValueError:
        body = None
    if status == 204:
        return {}
    if status == 200:
        if isinstance(body, dict):
            return body
        raise SourceDown(
            _FOREIGN.format(path), "check for a proxy or a login page between"
        )
    if status == 400 and body is None:  # as a TLS port answers to plain HTTP
        hint = "check whether RESENTRY_VAULT_ADDR needs https"
        raise SourceDown(_FOREIGN.format(path), hint)
    if status in _DENIED:
        what, hint = _DENIED[status]
        raise SourceDenied(what.format(path), hint)
    if status == 404:
        raise SourceMissing(*_missing(path, body if isinstance(body, dict) else {}))
    what, hint = _DOWN.get(status, (f"Vault answers {{}} with status {status}", ""))
    after = retry_after_seconds(response.headers.get("Retry-After", ""))
    raise SourceDown(what.format(path), hint, retry_after=after)


def _missing(path: str, body: dict[str, Any]) -> tuple[str, str]:
    """Return what is missing, and a hint. Only a deleted secret has metadata."""
    data = body.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if path.startswith(("auth/", "sys/")):
        hint = "check RESENTRY_VAULT_ADDR and RESENTRY_VAULT_NAMESPACE"
        return f"Vault has nothing at {path} (404)", hint
    if not isinstance(metadata, dict):
        hint = (
            "check RESENTRY_VAULT_PATHS, RESENTRY_VAULT_NAMESPACE and "
            "RESENTRY_VAULT_KV_VERSION"
        )
        return f"there is no secret at {path}", hint
    new = "write a new version of the secret, with all its keys"
    if metadata.get("destroyed"):
        return f"this version of {path} is destroyed", new
    number = metadata.get("version")
    undelete = "undelete it"
    if type(number) is int and "/data/" in path:
        mount, _, name = path.partition("?")[0].partition("/data/")
        undelete = f"{UNDELETE} -mount={mount} -versions={number} {name}"
    return f"this version of {path} is deleted", f"{undelete}; or {new}"
