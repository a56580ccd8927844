"""Checks the settings of Vault before anything is sent. No error quotes an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.errors import SettingsError
from agent.source import kv, login
from agent.source.session import SOCKET_SCHEME

if TYPE_CHECKING:
    from agent.settings import Settings

_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|[0-9a-f:.]+(?:%[\w.-]+)?")
_EXAMPLES = (
    "RESENTRY_VAULT_ADDR=https://vault:8200",
    "RESENTRY_VAULT_PATHS=secret/data/lms",
    "RESENTRY_VAULT_TOKEN_FILE=/run/secrets/vault-token",
)


def check(settings: Settings) -> None:
    """Raise `SettingsError` if a setting of Vault is missing or wrong."""
    _require(settings)
    for path in settings.vault_paths:
        kv.parse_path(path)
    namespace = settings.vault_namespace
    if not (namespace.isascii() and namespace.isprintable()):
        raise SettingsError(
            "RESENTRY_VAULT_NAMESPACE must be printable ASCII", "write it as in a/b"
        )
    if problem := _problem(settings.vault_addr):
        raise SettingsError(
            f"RESENTRY_VAULT_ADDR must be only scheme, host and port: it {problem}",
            "write it as in https://vault:8200 or unix:///run/vault/agent.sock",
        )


def _require(settings: Settings) -> None:
    names = ("vault_addr", "vault_paths")
    unset = [f"RESENTRY_{n.upper()}" for n in names if not getattr(settings, n)]
    unset += login.missing(settings)
    if not unset:
        return
    shown = [each for each in _EXAMPLES if each.partition("=")[0] in ",".join(unset)]
    hint = f"set them, as in {' '.join(shown)}; " if shown else "set them; "
    method = settings.vault_auth
    if method == "approle" and settings.vault_role and not settings.vault_role_id:
        hint += "approle takes no RESENTRY_VAULT_ROLE, but the id of the role: read it with "
        hint += f"vault read {login.mount(settings)}/role/NAME/role-id"
    else:
        hint += f"RESENTRY_VAULT_AUTH is {method}: resentry-agent run --help describes each "
        hint += "setting, and the other ways to log in"
    if not settings.vault_addr and not settings.vault_paths:
        hint += "; without Vault, set RESENTRY_SOURCE_PATH to mounted files instead"
    raise SettingsError(f"required settings are missing: {', '.join(unset)}", hint)


def _problem(text: str) -> str:
    """Return what is wrong with an address; empty if nothing is."""
    if text.startswith(SOCKET_SCHEME):
        is_path = text.startswith(SOCKET_SCHEME + "/")
        return "" if is_path else "names no absolute path after unix://"
    scheme, colon, rest = text.partition("://")
    host = rest.partition("/")[0]
    problem = next((name for sign, name in _ODD.items() if sign in text), "")
    if problem:
        problem = f"has {problem} in it"
    elif not colon:
        problem = "has no scheme: put https:// before it"
    elif scheme.lower() not in ("http", "https"):
        problem = "has another scheme than https, http or unix"
    elif host.count(":") > 1 and "[" not in host:
        problem = "has an IPv6 address without brackets: write http://[::1]:8200"
    return problem or _problem_of(text)


def _problem_of(url: str) -> str:
    try:
        address = urlsplit(url)
        if not address.hostname:
            return "has no host"
        is_place = address.port != 0 and _HOST.fullmatch(address.hostname)
    except ValueError:
        is_place = False
    if not is_place:
        return "has a host or a port that is none"
    if address.path.startswith(("/v1", "/ui")):  # copied from a browser
        return f"ends with a path of Vault itself: leave out {address.path[:3]} and the rest"
    return ""


_ODD = {
    '"': "quotation marks",
    "'": "quotation marks",
    " ": "a space",
    "@": "a user",
    "?": "a query (?)",
    "#": "a fragment (#)",
}
