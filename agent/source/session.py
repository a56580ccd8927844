"""The HTTP session for Vault: it ignores the environment, and follows one redirect."""

from __future__ import annotations

import email.utils
import logging
import re
import time
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from agent.source.answer import AnswerAdapter, read
from agent.source.bounds import Bounds
from agent.source.tls import Tls
from agent.web import is_private

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source.answer import Answer
    from agent.source.bounds import BoundedContext

SOCKET_SCHEME = "unix://"
_SOCKET_URL = "http://localhost"
INDEX, INCONSISTENT = "X-Vault-Index", "X-Vault-Inconsistent"
_INDEX_VALUE = re.compile(r"[A-Za-z0-9+/=_-]{1,1024}")
_HOST = re.compile(r"[a-z0-9._-]{1,253}(:[0-9]+)?|\[[a-f0-9:.]+\](:[0-9]+)?")


class RedirectError(requests.RequestException):
    """The server redirects to an address to which nothing may be sent."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class VaultSession(requests.Session):
    """A session with one kept connection and without retries.

    The session reads proxies from the environment only if the settings say so, and
    nothing else. It follows one redirect at most: never to another scheme, and to another
    host only if that host is listed, because the token goes with the request.
    """

    def __init__(self, settings: Settings, user_agent: str) -> None:
        super().__init__()
        # urllib3 logs what servers send, and warns at every request.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        disable_warnings(InsecureRequestWarning)
        self._settings = settings
        address = settings.vault_addr
        is_socket = address.startswith(SOCKET_SCHEME)
        self.url = _SOCKET_URL if is_socket else address
        self.is_tls = urlsplit(self.url).scheme == "https"
        self.trust_env = False  # no .netrc or CA bundles from the environment
        # No cookies: kept ones might grow beyond what a server accepts.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers["User-Agent"] = user_agent
        self.headers["Accept-Encoding"] = "identity"  # no compressed answers
        if settings.vault_trust_env and not is_socket:
            self.proxies.update(get_environ_proxies(self.url))
        self.bounds = Bounds()
        self._tls = Tls(settings)
        self._mounted: BoundedContext | None = None
        self._dated: tuple[str | None, float] = None, 0.0
        self._asked: tuple[object, ...] = ()
        self._prepared: requests.PreparedRequest | None = None
        self._index = ""
        self._forwards = True
        self._listed = {host.lower() for host in settings.vault_redirect_hosts}
        used = [] if is_socket else [self.url]
        if not self.is_tls and self.proxies:
            used += self.proxies.values()
        self._used = set(map(urlsplit, used))
        self.adapters.clear()
        if not self.is_tls:
            path = address.removeprefix(SOCKET_SCHEME) if is_socket else ""
            self.mount("http://", AnswerAdapter(self.bounds, path))

    def refresh(self) -> None:
        """Use the certificate files of now: a changed file makes a new connection."""
        if not self.is_tls:
            return
        context = self._tls.context()
        if context is not self._mounted:
            self.close()
            name = self._settings.vault_server_name
            adapter = AnswerAdapter(self.bounds, context=context, server_name=name)
            self.mount("https://", adapter)
            self._mounted = context

    @property
    def is_verified(self) -> bool | None:
        """Whether Vault's certificate is checked; `None` without TLS."""
        wanted = not self._settings.vault_insecure_skip_tls_verify
        return wanted if self.is_tls else None

    @property
    def is_encrypted(self) -> bool:
        """Whether nobody on a network can read along: TLS, or this machine alone."""
        return all(map(is_private, self._used))

    @property
    def clock_seconds(self) -> float | None:
        """How far this machine's clock is ahead of Vault's, by the last answer."""
        sent, received = self._dated
        try:
            return received - email.utils.parsedate_to_datetime(sent or "").timestamp()
        except (TypeError, ValueError):
            return None

    def notes(self) -> tuple[str, ...]:
        """Notes for an operator on a connection that works."""
        notes = [self._tls.problem] if self._tls.problem else []
        if not self.is_encrypted:
            hosts = ", ".join(
                sorted(_host(url) for url in self._used if not is_private(url))
            )
            notes.append(
                f"{hosts} is asked over http: anybody on the network can read the token and "
                "the secret: write RESENTRY_VAULT_ADDR with https, or use a Vault Proxy on "
                "this machine"
            )
        if self.is_verified is False:
            notes.append(
                "Vault's certificate is not checked, so anybody can pose as Vault: unset "
                "RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY"
            )
        return tuple(notes)

    def request(  # type: ignore[override]  # what hvac gives, and nothing else
        self, method: str, url: str, *, timeout: Any, **given: Any
    ) -> Answer:
        """Send a request, and read its answer, or raise a `RequestException`.

        A poll repeats the last request, which is prepared once. A request with a body
        may hold a credential, and is forgotten.
        """
        parts = {name: given.get(name) for name in ("headers", "params", "json")}
        asked = (method, url, *parts.values())
        prepared = self._prepared if asked == self._asked else None
        if prepared is None:
            made = requests.Request(method.upper(), url, **parts)
            prepared = self.prepare_request(made)
            # No header is there twice, and urllib3 copies a plain mapping faster.
            prepared.headers = dict(prepared.headers)  # type: ignore[assignment]
            if parts["json"] is None:
                self._asked, self._prepared = asked, prepared
        return self.send(prepared, timeout=timeout)

    def send(  # type: ignore[override]  # as above
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> Answer:
        """Send one request and read its answer, or raise a `RequestException`."""
        response = self._consistent(request, **kwargs)
        if not response.is_redirect:
            return response
        again = request.copy()
        again.url = self._redirected(urlsplit(str(request.url)), response)
        response = self._send(again, **kwargs)
        if response.is_redirect:
            raise RedirectError(
                "redirects a second time", "set RESENTRY_VAULT_ADDR to the active node"
            )
        return response

    def _consistent(self, request: requests.PreparedRequest, **kwargs: Any) -> Answer:
        """Send one request, and the index of the last write that Vault Enterprise named.

        A standby that does not know this write yet forwards the request to the active
        node, or answers 412. Where forwarding is not allowed, Vault answers 400.
        """
        for name in (INDEX, INCONSISTENT):
            request.headers.pop(name, None)
        if self._index:
            request.headers[INDEX] = self._index
            if self._forwards:
                request.headers[INCONSISTENT] = "forward-active-node"
        response = self._send(request, **kwargs)
        if response.status_code == 400 and INCONSISTENT in request.headers:
            del request.headers[INCONSISTENT]
            again = self._send(request, **kwargs)
            self._forwards = again.status_code == 400  # else the header was to blame
            response = again
        index = response.headers.get(INDEX, "")
        if response.status_code == 412:
            self._index = ""  # of a Vault that was restored, this write never comes
        elif _INDEX_VALUE.fullmatch(index):
            self._index = index
        return response

    def _send(self, request: requests.PreparedRequest, **kwargs: Any) -> Answer:
        if self.bounds.is_over:
            raise requests.ConnectionError("the deadline of the pass is over")
        self.bounds.begin()
        try:
            return self._receive(request, **kwargs)
        except requests.RequestException:
            raise
        except (HTTPError, HTTPException, OSError) as error:
            raise requests.ConnectionError from error
        except Exception as error:  # noqa: BLE001 - whatever odd bytes do to a parser
            problem = HTTPException(type(error).__name__)
            raise requests.ConnectionError from problem

    def _receive(self, request: requests.PreparedRequest, **kwargs: Any) -> Answer:
        """Send a request, and read as much of the answer's body as is needed."""
        # Not the session's own `send`, which looks for cookies and redirects.
        adapter = self.get_adapter(str(request.url))
        raw: Any = adapter.send(request, proxies=self.proxies, **kwargs)
        self.bounds.begin_body()
        answer = read(raw)
        self._dated = answer.headers.get("Date"), time.time()
        return answer

    def _redirected(self, was: SplitResult, response: Answer) -> str:
        """Return the address that the server redirects to, if the request may go there."""
        try:
            to = urlsplit(urljoin(was.geturl(), response.headers["Location"]))
            host = _host(to)
        except ValueError:
            host = ""
        if not _HOST.fullmatch(host):
            raise RedirectError(
                "redirects to something that is no address", "check what answers there"
            )
        if to.scheme != was.scheme:
            raise RedirectError(
                f"redirects from {was.scheme} to another scheme, at {host}",
                "set RESENTRY_VAULT_ADDR to this address, if it can be trusted",
            )
        if host != _host(was) and not {host, _host(to, port=False)} & self._listed:
            raise RedirectError(
                f"redirects to another host: {host}",
                f"if {host} is the active Vault node, add it to "
                "RESENTRY_VAULT_REDIRECT_HOSTS",
            )
        to = to._replace(netloc=host, fragment="")
        self._used.add(to._replace(path="", query=""))
        return to.geturl()


def _host(url: SplitResult, *, port: bool = True) -> str:
    """Return the host as settings write it, with its port unless that is the default."""
    name = url.hostname or ""
    name = f"[{name}]" if ":" in name else name
    usual = {"https": 443, "http": 80}.get(url.scheme)
    shown = port and url.port not in (None, usual)
    return f"{name}:{url.port}" if shown else name
