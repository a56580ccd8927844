"""Whether Sentry has signed a body: HMAC-SHA256 over its bytes, with the client secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import TYPE_CHECKING

import structlog

from agent.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

_FORM = re.compile(rb"[0-9a-f]{64}")
_FILE_BYTES = 64 * 1024
HINT = (
    "RESENTRY_BRIDGE_SECRET_FILE must name a file with the client secret of the internal "
    "integration, one secret a line"
)

log = structlog.get_logger()


def has_form(signature: bytes) -> bool:
    """Whether a header could be a signature. It costs nothing to ask this first."""
    return _FORM.fullmatch(signature) is not None


def sign(secret: str, body: bytes) -> str:
    """Return what Sentry sends as `Sentry-Hook-Signature`."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Secrets:
    """The client secrets: those of several integrations, or the old and the new one.

    `read` returns them. It is asked again when the file has changed, so a secret can be
    replaced or revoked without a restart. A file that cannot be read leaves the old
    secrets; a file without a secret leaves none.
    """

    def __init__(self, read: Callable[[], tuple[str, ...]], path: str = "") -> None:
        self._read = read
        self._path = path
        self._seen = self._stamp()
        self._secrets = read()
        self._reason = ""
        """Why the file cannot be read; empty if it can."""
        if not self._secrets:
            raise SettingsError("the bridge has no client secret", HINT)

    def accept(self, signature: bytes, body: bytes) -> bool:
        """Whether one of the secrets has made this signature.

        The time does not tell which one.
        """
        self._reload()
        found = False
        for secret in self._secrets:  # all of them: the time tells nothing
            made = sign(secret, body).encode()
            found |= hmac.compare_digest(made, signature)
        return found

    def _reload(self) -> None:
        """Read the file again if it has changed."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            secrets = self._read()
        except SettingsError as error:
            if self._reason != str(error):
                log.warning(
                    "cannot read the changed client secrets; the old ones stay valid",
                    reason=str(error),
                    hint=HINT,
                )
            self._reason = str(error)
            return
        self._secrets, self._seen, self._reason = secrets, stamp, ""
        if secrets:
            log.info("the client secrets were read again", secrets=len(secrets))
        else:
            log.error(
                "the file of the client secrets is empty: every webhook is refused",
                path=self._path,
                hint=HINT,
            )

    def _stamp(self) -> tuple[int, ...]:
        try:
            status = os.stat(self._path)
        except OSError:
            return ()
        return (
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )


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
        return tuple(filter(None, map(str.strip, given.splitlines())))

    return Secrets(read, path)
