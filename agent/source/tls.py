"""TLS towards Vault: what it is checked against, read anew when the files change."""

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
    """Makes a context from the certificate files, and again when one has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: Signature | None = None
        self._context: BoundedContext | None = None
        self.problem = ""
        """Why the files of now cannot be used, while those of before still count."""

    def context(self) -> BoundedContext:
        """Return the context of now: the same object while no file changes.

        Files that cannot be used, half-written ones perhaps, leave the one of before;
        without any the error is raised, a `SourceDown`.
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
            self.problem = f"{error.what}; what was read before still counts"
        return self._context

    def _signature(self) -> Signature:
        """What tells whether a file was replaced or written."""
        settings = self._settings
        key = settings.vault_client_key
        found = []
        for path in (*self._authorities(), settings.vault_client_cert, key):
            if path:
                with _using(path):
                    at = os.stat(path)
                found.append((path, at.st_mtime_ns, at.st_ino, at.st_size))
        return tuple(found)

    def _authorities(self) -> list[str]:
        """The files of the authority: itself, or all in the directory."""
        ca = self._settings.vault_ca
        if not os.path.isdir(ca):
            return [ca] if ca else []
        # A mounted directory has its generations beside its files, in hidden ones.
        with _using(ca):
            names = sorted(name for name in os.listdir(ca) if name[0] != ".")
        found = [os.path.join(ca, name) for name in names]
        if not (files := [path for path in found if os.path.isfile(path)]):
            raise SourceDown(f"no certificate in {ca}", "check RESENTRY_VAULT_CA")
        return files

    def _make(self) -> BoundedContext:
        settings = self._settings
        authorities = self._authorities()
        if not authorities:
            import certifi  # noqa: PLC0415 - 26 ms to load, for public authorities only

            authorities = [certifi.where()]
        context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        # As for Vault's own command, what is listed is trusted: it need not be a root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if settings.vault_insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in authorities:
            with _using(path):
                context.load_verify_locations(path)
        if path := settings.vault_client_cert:
            with _using(path):
                # Without a password OpenSSL would ask for one, at a terminal.
                key = settings.vault_client_key or None
                context.load_cert_chain(path, key, password="")
        return context


@contextlib.contextmanager
def _using(path: str) -> Iterator[None]:
    """Raise `SourceDown` for what goes wrong with that file."""
    try:
        yield
    except ssl.SSLError as error:
        is_other = error.reason == "KEY_VALUES_MISMATCH"
        reason = "its key is another one's" if is_other else "not PEM, or encrypted"
    except OSError as error:
        path = str(error.filename or path)
        reason = os.strerror(error.errno or 0)
    else:
        return
    raise SourceDown(
        f"cannot use {path}: {reason}",
        "check RESENTRY_VAULT_CA, RESENTRY_VAULT_CLIENT_CERT and its key",
    )
