"""The least Vault policy that the agent needs, and what its token lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SourceDenied, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.settings import Settings
    from agent.source.vault import VaultSource

_RULE = 'path "{}" {{\n  capabilities = ["{}"]\n}}\n'


def vault_policy(settings: Settings, source: VaultSource) -> str:
    """Return the least Vault policy that these settings need, in Vault's language.

    If Vault cannot be asked for the mount of a path, the path stands as configured.
    """
    lines = ["# The least policy that resentry-agent needs with these settings."]
    refusal: SourceError | None = None
    try:
        source.log_in()
    except SourceError as error:
        refusal = error
    for configured in settings.vault_paths:
        try:
            if refusal:
                raise refusal
            path = source.locate(configured).path
        except SourceError as error:
            path = configured.partition("?")[0].strip("/").removeprefix("v1/")
            lines.append(
                f"# The path as configured, because Vault did not tell its mount: {error.what}"
            )
        lines.append(_RULE.format(path, "read"))
    if settings.vault_auth != "none":
        lines.append(
            "# For its own token and for `check`. The default policy grants these, too."
        )
        lines.append(_RULE.format("auth/token/lookup-self", "read"))
        updates = ["auth/token/renew-self", "sys/capabilities-self"]
        if settings.vault_auth != "token":
            updates.append("auth/token/revoke-self")
        lines += [_RULE.format(path, "update") for path in updates]
    return "\n".join(lines)


def unreadable(source: VaultSource, paths: Sequence[str]) -> list[str] | None:
    """Return the API paths that the token may not read; `None` if it may not ask."""
    wanted = [source.locate(path).path for path in paths]
    try:
        answer = source.api.post("sys/capabilities-self", {"paths": wanted})
    except SourceDenied:
        return None
    granted = answer.get("data") or answer
    allowed = {"read", "root"}
    return [path for path in wanted if not allowed & set(granted.get(path) or ())]
