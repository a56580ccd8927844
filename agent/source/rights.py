"""The least Vault policy that the agent needs, and what its token lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SourceDenied, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.settings import Settings
    from agent.source.vault import VaultSource

_HARMLESS = ("read", "list", "deny")
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
    secrets = []
    for configured in (*settings.vault_paths, *filter(None, [settings.rotation_path])):
        try:
            if refusal:
                raise refusal
            path = source.locate(configured).path
        except SourceError as error:
            path = configured.partition("?")[0].strip("/").removeprefix("v1/")
            lines.append(
                f"# The path as configured, because Vault did not tell its mount: {error.what}"
            )
        secrets.append(path)
    journal = secrets.pop() if settings.rotation_path else ""
    lines += [_RULE.format(path, "read") for path in secrets]
    if journal:
        lines += _rotation_lines(secrets, journal)
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


def _rotation_lines(secrets: Sequence[str], journal: str) -> Iterator[str]:
    """Return the rules for `status` and `doctor`, and as comments those for `rotate`."""
    metadata = journal.replace("/data/", "/metadata/", 1)
    yield "# For `status` and `doctor`: they tell of rotations (RESENTRY_ROTATION_PATH)."
    yield _RULE.format(journal, "read")
    yield _RULE.format(metadata, "read")
    yield "# `rotate` needs a policy and a token of its own. The agent must not have it:"
    rights = dict.fromkeys(secrets, '"read", "update"')
    rights[journal] = '"create", "read", "update"'
    rights[metadata] = '"read"'
    yield from (
        f'#   path "{path}" {{ capabilities = [{each}] }}'
        for path, each in rights.items()
    )
    yield ""


def surplus(source: VaultSource, paths: Sequence[str]) -> tuple[str, ...] | None:
    """Return what the token may do with the secrets, but reading; `None` if it may not ask."""
    granted = _granted(source, [source.locate(path).path for path in paths])
    if granted is None:
        return None
    return tuple(
        f"{right} on {path}"
        for path, rights in granted.items()
        for right in rights
        if right not in _HARMLESS
    )


def unreadable(source: VaultSource, paths: Sequence[str]) -> list[str] | None:
    """Return the API paths that the token may not read; `None` if it may not ask."""
    wanted = [source.locate(path).path for path in paths]
    granted = _granted(source, wanted)
    if granted is None:
        return None
    return [path for path in wanted if not {"read", "root"} & set(granted[path])]


def _granted(source: VaultSource, paths: Sequence[str]) -> dict[str, list[str]] | None:
    """Return the token's rights by API path; `None` if it may not ask."""
    try:
        answer = source.api.post("sys/capabilities-self", {"paths": list(paths)})
    except SourceDenied:
        return None
    granted = answer.get("data") or answer
    return {path: list(map(str, granted.get(path) or ())) for path in paths}
