"""The HTTP session for Vault: nothing from the environment, one redirect at most."""

from __future__ import annotations

import logging
import re
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies
from urllib3 import disable_warnings
from urllib3.exceptions import InsecureRequestWarning

from agent.source.bounds import ANSWER_LIMIT_BYTES, BoundedAdapter, Bounds
from agent.source.tls import Tls

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source.bounds import BoundedContext

SOCKET_SCHEME = "unix://"
_SOCKET_URL = "http://localhost"
_HOST = re.compile(r"[a-z0-9._-]{1,253}(:[0-9]+)?|\[[a-f0-9:.]+\](:[0-9]+)?")


class TooLargeError(requests.RequestException):
    """The answer is larger than `ANSWER_LIMIT_BYTES`."""


class RedirectError(requests.RequestException):
    """The server points to where nothing may be sent."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class VaultSession(requests.Session):
    """A session without retries, of one kept connection.

    It takes nothing from the environment, unless proxies are asked for, and follows
    one redirect at most: never to another scheme, so never down to http, and to another
    host, with the token, only if that host is listed.
    """

    def __init__(self, settings: Settings, user_agent: str) -> None:
        super().__init__()
        # It quotes what servers send, and says at every request what `notes` says once.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        disable_warnings(InsecureRequestWarning)
        self._settings = settings
        address = settings.vault_addr
        is_socket = address.startswith(SOCKET_SCHEME)
        self.url = _SOCKET_URL if is_socket else address
        self.is_tls = urlsplit(self.url).scheme == "https"
        self.trust_env = False  # no .netrc or CA bundles from the environment
        # Kept, they would add up to more than a server takes.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self.headers["User-Agent"] = user_agent
        self.headers["Accept-Encoding"] = "identity"  # nothing has to be inflated
        if settings.vault_trust_env and not is_socket:
            self.proxies.update(get_environ_proxies(self.url))
        self.bounds = Bounds()
        self._tls = Tls(settings)
        self._mounted: BoundedContext | None = None
        self._listed = {host.lower() for host in settings.vault_redirect_hosts}
        self.adapters.clear()
        if not self.is_tls:
            path = address.removeprefix(SOCKET_SCHEME) if is_socket else ""
            self.mount("http://", BoundedAdapter(self.bounds, path))

    def refresh(self) -> None:
        """Begin anew: not cut, and with the certificate files of now."""
        if not self.is_tls:
            return
        context = self._tls.context()
        if context is not self._mounted:
            self.close()
            name = self._settings.vault_server_name
            adapter = BoundedAdapter(self.bounds, context=context, server_name=name)
            self.mount("https://", adapter)
            self._mounted = context

    @property
    def is_verified(self) -> bool | None:
        """Whether Vault's certificate is checked; `None` where it has none."""
        wanted = not self._settings.vault_insecure_skip_tls_verify
        return wanted if self.is_tls else None

    def notes(self) -> tuple[str, ...]:
        """What an operator should know of the connection, though it serves."""
        notes = [self._tls.problem] if self._tls.problem else []
        if self.is_verified is False:
            notes.append("Vault's certificate is not checked: anybody may be Vault")
        return tuple(notes)

    def send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send one request, read its answer; raise a `RequestException` of some kind."""
        response = self._send(request, **kwargs)
        if not response.is_redirect:
            return response
        again = request.copy()
        again.url = self._redirected(urlsplit(str(request.url)), response)
        response = self._send(again, **kwargs)
        if response.is_redirect:
            raise RedirectError("redirects a second time")
        return response

    def get_redirect_target(self, _response: requests.Response) -> None:
        """Nothing: requests would otherwise read a redirect's body, however long."""

    def _send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        if self.bounds.is_over:
            raise requests.ConnectionError("the pass is over time")
        self.bounds.begin()
        kwargs["stream"] = True
        body = bytearray()
        with super().send(request, **kwargs) as response:
            if not response.is_redirect:
                for chunk in response.iter_content(65536):
                    body += chunk
                    if len(body) > ANSWER_LIMIT_BYTES:
                        raise TooLargeError
        response._content = bytes(body)  # noqa: SLF001 - what .content caches
        return response

    def _redirected(self, was: SplitResult, response: requests.Response) -> str:
        """Where the server points to, if the request may go there."""
        try:
            to = urlsplit(urljoin(was.geturl(), response.headers["Location"]))
            host = _host(to)
        except ValueError:
            host = ""
        if not _HOST.fullmatch(host):
            raise RedirectError("redirects to what is no address")
        if to.scheme != was.scheme:
            raise RedirectError(
                f"redirects from {was.scheme} to another scheme, at {host}",
                "set RESENTRY_VAULT_ADDR to where it points, if that can be trusted",
            )
        if host != _host(was) and not {host, _host(to, port=False)} & self._listed:
            raise RedirectError(
                f"redirects to another host: {host}",
                "if that is its leader, add it to RESENTRY_VAULT_REDIRECT_HOSTS",
            )
        return to._replace(netloc=host, fragment="").geturl()


def _host(url: SplitResult, *, port: bool = True) -> str:
    """The host as a setting would name it, with its port if that is not the usual."""
    name = url.hostname or ""
    name = f"[{name}]" if ":" in name else name
    usual = {"https": 443, "http": 80}.get(url.scheme)
    shown = port and url.port not in (None, usual)
    return f"{name}:{url.port}" if shown else name
