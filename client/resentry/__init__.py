"""Change a running service's Sentry configuration without losing an event.

    import resentry

    resentry.init(role="api")        # and role="celery" in the workers

Nothing here raises into the application, configures logging, or makes a request
wait. Without an agent the guide's environment variables are used, as ever.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from resentry._version import __version__
from resentry.contract import ContractError
from resentry.harmless import harmless
from resentry.process import here
from resentry.reader import Volume
from resentry.values import resolve, show_dsn

# The agent imports `resentry.contract`, and with it this file: sentry-sdk, which
# nothing needs before `init`, is imported there.
if TYPE_CHECKING:
    from resentry.target import Target

__all__ = [
    "__version__",
    "close",
    "init",
    "revision",
    "settings",
    "show_dsn",
    "status",
]

_FLUSH_SECONDS = 2.0
_BUSY_SECONDS = 5.0


@harmless("init", lambda: None)
def init(role: str = "api", **options: Any) -> None:
    """Start Sentry in this process and keep it at the newest snapshot.

    Call it where `sentry_sdk.init` stood: once per process, at import. A later call
    takes effect as a swap. What went wrong is logged and stands in `status()`.

    Args:
        role: whose overrides of the snapshot apply, `api` or `celery`; with `celery`
            also `SENTRY_ENABLE_FOR_CELERY` counts.
        options: given to `sentry_sdk` with every client (`integrations`,
            `before_send`, ...). What the snapshot decides cannot be given.

    """
    from resentry.target import target  # noqa: PLC0415 - imports sentry-sdk

    home = here()
    if not home.starting.acquire(timeout=_BUSY_SECONDS):
        raise TimeoutError("another thread is in resentry.init")
    try:
        environ = dict(os.environ)  # noqa: TID251 - the application's edge
        target.start(role, options, environ)
    finally:  # after the SDK's own, so that ours runs before it closes the client
        atexit.unregister(target.end)
        atexit.register(target.end)
        home.starting.release()


def _target() -> Target | None:
    """Return what `init` has started; asking does not import sentry-sdk."""
    module = sys.modules.get("resentry.target")
    return None if module is None else module.target


@harmless("revision", lambda: None)
def revision() -> str | None:
    """Name the snapshot that runs here; `None` when the environment decides."""
    target = _target()
    return None if target is None else target.revision


@harmless("status", dict)
def status() -> dict[str, Any]:
    """Say what runs here and why: revision, values, their origins, the last error.

    The DSN is shown as host, project and the key's last four. Before `init` the
    role is empty.
    """
    from resentry.target import target  # noqa: PLC0415 - imports sentry-sdk

    return target.status()


@harmless("settings", dict)
def settings(role: str = "api") -> dict[str, Any]:
    """Return the effective values, as `init` would use them, by their variables' names.

    They are typed and real: the DSN is whole. Sentry is left alone.
    """
    environ = dict(os.environ)  # noqa: TID251 - the application's edge
    try:
        snapshot = Volume.from_environ(environ).read()
    except (OSError, ContractError):
        snapshot = None
    return dict(resolve(snapshot, role, environ).values)


@harmless("close", lambda: None)
def close() -> None:
    """Stop following the volume, and send what is still queued."""
    target = _target()
    if target is not None:
        import sentry_sdk  # noqa: PLC0415 - see above

        target.stop()
        sentry_sdk.flush(_FLUSH_SECONDS)
