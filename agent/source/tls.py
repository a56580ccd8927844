"""TLS with Vault: makes a context from the certificate files, anew when they change."""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING

from agent.errors import SourceDown
from agent.source.bounds import BoundedContext

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

Signature = tuple[tuple[str, int, int, int], ...]


class Tls:
    """The context that is made from the certificate files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: Signature | None = None
        self._context: BoundedContext | None = None
        self.problem = ""
        """Why the files of now cannot be used, while the ones read before still count."""

    def context(self) -> BoundedContext:
        """Return the context: the same object while no file changes.

        If changed files cannot be used (perhaps they are half-written), the last context
        counts. Without a last context, the error is raised, a `SourceDown`.
        """
        self.problem = ""
        try:
            signature = self._signature()
            if self._context is None or signature != self._read:
                self._context = self._make()
                self._read = signature
        except SourceDown as error:
            if self._context is None:
                raise
            self.problem = f"{error.what}; the certificates read before still count"
        return self._context

    def _signature(self) -> Signature:
        """Return a value that changes when a file is replaced or written."""
        settings = self._settings
        key = settings.vault_client_key
        files = []
        for path in (*self._authorities(), settings.vault_client_cert, key):
            if not path:
                continue
            try:
                status = os.stat(path)
            except OSError:
                with self._using(path):
                    raise
            files.append((path, status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(files)

    def _authorities(self) -> list[str]:
        """Return the files of `vault_ca`: the file itself, or all files in the directory."""
        ca = self._settings.vault_ca
        if not os.path.isdir(ca):
            return [ca] if ca else []
        # A mounted directory keeps generations of its files in hidden directories.
        with self._using(ca):
            names = sorted(name for name in os.listdir(ca) if name[0] != ".")
        paths = [os.path.join(ca, name) for name in names]
        if not (files := [path for path in paths if os.path.isfile(path)]):
            raise SourceDown(f"{ca} holds no certificate", "check RESENTRY_VAULT_CA")
        return files

    def _make(self) -> BoundedContext:
        settings = self._settings
        authorities = self._authorities()
        if not authorities:
            import certifi  # noqa: PLC0415 - 26 ms to load, for public authorities only

            authorities = [certifi.where()]
        context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        # As with Vault's own command, each listed certificate is trusted, roots or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if settings.vault_insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in authorities:
            with self._using(path):
                context.load_verify_locations(path)
        if path := settings.vault_client_cert:
            with self._using(path):
                # With an empty password, OpenSSL does not ask at a terminal.
                key = settings.vault_client_key or None
                context.load_cert_chain(path, key, password="")
        return context

    @contextlib.contextmanager
    def _using(self, path: str) -> Iterator[None]:
        """Raise `SourceDown` for an error with this file."""
        try:
            yield
        except ssl.SSLError as error:
            is_other = error.reason == "KEY_VALUES_MISMATCH"
            reason = (
                "the key belongs to another certificate"
                if is_other
                else "the file is not PEM, or is encrypted"
            )
        except OSError as error:
            path = str(error.filename or path)
            reason = os.strerror(error.errno or 0)
        else:
            return
        raise SourceDown(
            f"cannot use {path}: {reason}",
            "check RESENTRY_VAULT_CA, RESENTRY_VAULT_CLIENT_CERT and "
            "RESENTRY_VAULT_CLIENT_KEY",
        )
