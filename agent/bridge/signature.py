"""Whether Sentry has signed a body: HMAC-SHA256 over its bytes, with the client secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import TYPE_CHECKING

from agent.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

_FORM = re.compile(rb"[0-9a-f]{64}")
_FILE_BYTES = 64 * 1024
HINT = (
    "RESENTRY_BRIDGE_SECRET_FILE must name a file with the client secret of the internal "
    "integration, one secret a line"
)


def has_form(signature: bytes) -> bool:
    """Whether a header could be a signature. It costs nothing to ask this first."""
    return _FORM.fullmatch(signature) is not None


def sign(secret: str, body: bytes) -> str:
    """Return what Sentry sends as `Sentry-Hook-Signature`."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Secrets:
    """The client secrets: those of several integrations, or the old and the new one.

    `read` returns them. It is asked again when the file has changed, so a secret can be
    replaced without a restart.
    """

    def __init__(self, read: Callable[[], tuple[str, ...]], path: str = "") -> None:
        self._read = read
        self._path = path
        self._seen = self._stamp()
        self._secrets = read()

    def accept(self, signature: bytes, body: bytes) -> bool:
        """Whether one of the secrets has made this signature. Takes constant time."""
        if self._has_made(signature, body):
            return True
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        try:
            self._secrets = self._read()
        except SettingsError:  # it is being replaced: the old secrets hold on
            return False
        self._seen = stamp
        return self._has_made(signature, body)

    def _has_made(self, signature: bytes, body: bytes) -> bool:
        found = False
        for secret in self._secrets:  # all of them: the time tells nothing
            made = sign(secret, body).encode()
            found |= hmac.compare_digest(made, signature)
        return found

    def _stamp(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)
        except OSError:
            return (0, 0)
        return status.st_ino, status.st_mtime_ns


def secrets_of(path: str, text: str) -> Secrets:
    """Return the secrets of a file, or else of a text. Raises `SettingsError` for none."""

    def read() -> tuple[str, ...]:
        given = text
        if path:
            try:
                with open(path, encoding="utf-8") as file:
                    given = file.read(_FILE_BYTES)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                raise SettingsError(f"cannot read {path}: {reason}", HINT) from None
        secrets = tuple(filter(None, map(str.strip, given.splitlines())))
        if not secrets:
            raise SettingsError("the bridge has no client secret", HINT)
        return secrets

    return Secrets(read, path)
