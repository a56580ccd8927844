"""What the agent may do at Vault, and the least that it must be allowed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SourceDenied, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.settings import Settings
    from agent.source.vault import VaultSource

_RULE = 'path "{}" {{\n  capabilities = ["{}"]\n}}\n'


def vault_policy(settings: Settings, source: VaultSource) -> str:
    """Return the least policy, in Vault's own language, that these settings need.

    Where Vault cannot be asked which mount holds a path, the path stands as written.
    """
    lines = ["# What resentry-agent needs with these settings, and nothing more."]
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
            lines.append(f"# As configured, for Vault was not asked: {error.what}")
        lines.append(_RULE.format(path, "read"))
    if settings.vault_auth != "none":
        lines.append(
            "# Its own token, and `check`; the default policy grants these, too."
        )
        lines.append(_RULE.format("auth/token/lookup-self", "read"))
        updates = ["auth/token/renew-self", "sys/capabilities-self"]
        if settings.vault_auth != "token":
            updates.append("auth/token/revoke-self")
        lines += [_RULE.format(path, "update") for path in updates]
    return "\n".join(lines)


def unreadable(source: VaultSource, paths: Sequence[str]) -> list[str] | None:
    """Name the API paths that the token may not read; `None` if it may not ask."""
    wanted = [source.locate(path).path for path in paths]
    try:
        answer = source.api.post("sys/capabilities-self", {"paths": wanted})
    except SourceDenied:
        return None
    found = answer.get("data") or answer
    allowed = {"read", "root"}
    return [path for path in wanted if not allowed & set(found.get(path) or ())]
