"""Change the Sentry configuration of a running service without losing an event.

    import resentry

    resentry.init(role="api")        # and role="celery" in the workers

The functions here never raise into the application, never configure logging, and never
make a request wait. Without an agent, `init` uses the environment variables.

`__all__` here, in `resentry.testing` and in `resentry.otel` names what an application may
import. Every other module is internal and may change in any release.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any

from resentry._types import NO_STATUS, Status
from resentry._version import __version__
from resentry.contract import ContractError
from resentry.effective import resolve
from resentry.harmless import harmless
from resentry.process import here
from resentry.reader import SharedDir
from resentry.values import show_dsn

# The agent imports `resentry.contract`, and so runs this file. The agent does not need
# sentry-sdk, so only `init` imports it.
if TYPE_CHECKING:
    from resentry.explanation import Explanation
    from resentry.explanation_here import Error
    from resentry.target import Target

__all__ = [
    "Status",
    "__version__",
    "close",
    "explain",
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

    Call `init` where `sentry_sdk.init` stood: once per process, at import. A later call
    swaps to the new role and options. Problems are logged, and `status()` shows them.

    Args:
        role: the role whose overrides of the snapshot apply here, such as `api`. With
            `celery`, `SENTRY_ENABLE_FOR_CELERY=false` turns Sentry off.
        options: passed to `sentry_sdk` with every client (`integrations`, `before_send`,
            ...). Options that the snapshot decides are ignored with a warning.

    """
    from resentry.target import target  # noqa: PLC0415 - imports sentry-sdk

    home = here()
    if not home.starting.acquire(timeout=_BUSY_SECONDS):
        raise TimeoutError(f"another thread is in init for over {_BUSY_SECONDS:g} s")
    try:
        environ = dict(os.environ)  # noqa: TID251 - the application's edge
        target.start(role, options, environ)
    finally:  # after the SDK's own, so that ours runs before it closes the client
        atexit.unregister(target.end)
        atexit.register(target.end)
        home.starting.release()


def _target() -> Target | None:
    """Return what `init` has started, or None. This does not import sentry-sdk."""
    module = sys.modules.get("resentry.target")
    return None if module is None else module.target


@harmless("revision", lambda: None)
def revision() -> str | None:
    """Return the snapshot's name; `None` if the environment variables decide."""
    target = _target()
    return None if target is None else target.revision


@harmless("status", NO_STATUS.copy)
def status() -> Status:
    """Return what runs in this process, where it came from, and what is wrong.

    The DSN is shown as host, project and the last four characters of its key.
    """
    from resentry.target import target  # noqa: PLC0415 - imports sentry-sdk

    return target.status()


@harmless("explain", lambda: None)
def explain(
    transaction: str = "",
    *,
    parent: bool | None = None,
    sampled: bool = False,
    error: Error | None = None,
    logger: str = "",
) -> Explanation | None:
    """Return which step decides here whether a trace or an error is sent, and why.

    `print(resentry.explain("GET /pay"))` shows each step and what it says. Nothing is
    counted or spent. An own `traces_sampler` or `error_sampler` is called, with what is
    known here. Returns `None` before `init`.

    Args:
        transaction: the name of the transaction or task at its start.
        parent: what the caller decided; `None` without a caller.
        sampled: whether the application starts it with `sampled=True`.
        error: explain this error instead: an exception, its class, or the class's name.
        logger: explain an error of this logger instead.

    """
    from resentry.explanation_here import explain_here  # noqa: PLC0415 - imports sentry-sdk
    from resentry.target import target  # noqa: PLC0415 - imports sentry-sdk

    return explain_here(
        target,
        transaction,
        parent=parent,
        sampled=sampled,
        error=error,
        logger=logger,
    )


@harmless("settings", dict)
def settings(role: str = "api") -> dict[str, Any]:
    """Return the values that `init` would use, by the names of their variables.

    Each value has its type. The DSN is whole: never log it. Sentry is not touched.
    """
    environ = dict(os.environ)  # noqa: TID251 - the application's edge
    try:
        snapshot = SharedDir.from_environ(environ).read()
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
