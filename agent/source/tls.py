"""TLS towards Vault: what it is checked against, read anew when the files change."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from agent.errors import SourceDown

if TYPE_CHECKING:
    from agent.settings import Settings

Signature = tuple[tuple[str, int, int, int], ...]


class Tls:
    """Makes a context from the certificate files, and again when one has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: Signature | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context of now: the same object while no file changes.

        Raises `SourceDown` when a file cannot be used.
        """
        try:
            signature = self._signature()
            if self._context is None or signature != self._read:
                self._context = self._make()
                self._read = signature
        except (OSError, ssl.SSLError) as error:
            named = getattr(error, "filename", None)
            reason = os.strerror(error.errno) if named and error.errno else "not PEM"
            raise SourceDown(
                f"cannot use {named or 'the files for TLS'}: {reason}",
                "check RESENTRY_VAULT_CA, RESENTRY_VAULT_CLIENT_CERT and its key",
            ) from None
        return self._context

    def _signature(self) -> Signature:
        """What tells whether a file was replaced or written."""
        settings = self._settings
        key = settings.vault_client_key
        files = [*self._authorities(), settings.vault_client_cert, key]
        found = [(path, os.stat(path)) for path in files if path]
        return tuple((p, at.st_mtime_ns, at.st_ino, at.st_size) for p, at in found)

    def _authorities(self) -> list[str]:
        """The files of the authority: itself, or all in the directory."""
        ca = self._settings.vault_ca
        if not os.path.isdir(ca):
            return [ca] if ca else []
        # A mounted directory has links to hidden ones beside its files.
        found = [os.path.join(ca, name) for name in sorted(os.listdir(ca))]
        return [path for path in found if os.path.isfile(path)]

    def _make(self) -> ssl.SSLContext:
        settings = self._settings
        authorities = self._authorities()
        if settings.vault_ca and not authorities:
            raise SourceDown(f"no certificate in {settings.vault_ca}")
        if not authorities:
            import certifi  # noqa: PLC0415 - 26 ms to load, for public authorities only

            authorities = [certifi.where()]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if settings.vault_insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in authorities:
            context.load_verify_locations(path)
        if settings.vault_client_cert:
            key = settings.vault_client_key or None
            context.load_cert_chain(settings.vault_client_cert, key)
        return context
