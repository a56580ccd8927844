"""Nothing of ours reaches the application: what goes wrong is counted and logged."""

from __future__ import annotations

import functools
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("resentry")


@dataclass
class Tally:
    """What went another than the plain way in this process, as its receipt tells."""

    parked: int = 0
    """Envelopes that a revoked DSN refused, kept for the next DSN."""
    rerouted: int = 0
    """Envelopes that went to the DSN after theirs."""
    dropped: int = 0
    """Envelopes that no DSN could be given."""
    unknown: int = 0
    """Envelopes that a hung DSN may have taken or not."""
    faults: int = 0
    """Exceptions inside the library that were kept from the application."""

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)

    def reset(self) -> None:
        """Begin at zero, in a forked child."""
        for name in self.as_dict():
            setattr(self, name, 0)


tally = Tally()


def fault(where: str) -> None:
    """Count the exception that is being handled, and log it."""
    tally.faults += 1
    # The caller is an exception handler.
    log.exception("resentry: %s failed; the application goes on", where)  # noqa: LOG004


def harmless(
    where: str, otherwise: Callable[[], Any]
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function answer `otherwise()` where it would raise."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def safe(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception:  # noqa: BLE001 - the application comes first
                fault(where)
                answer: T = otherwise()
                return answer

        return safe

    return decorate
