"""Has processes send test items: writes `verify.json` on the volume, and removes it.

Only the loop's thread calls this module.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from agent.domain.structured import role_name
from agent.domain.verified import SECONDS_LIMIT
from agent.errors import RequestUnknown, WishRefused
from agent.publish.files import FILE_MODE, as_publish_error, gid_of, own
from agent.publish.names import PRIVATE_DIR
from resentry import formats
from resentry.verification import AGAIN_SECONDS, KINDS, VERIFY_FILE, Ask, encode_ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.publish.volume import Volume
    from agent.settings import Settings

VERIFY_COMMANDS = ("verify", "end-verify")

log = structlog.get_logger()


class Verification:
    """The request that stands on the volume, if there is one.

    Args:
        volume: on which the request is written.
        settings: which name the volume's group.
        post: has the loop's thread run a call.

    """

    def __init__(
        self,
        volume: Volume,
        settings: Settings,
        post: Callable[[Callable[[], object]], None],
    ) -> None:
        self._volume = volume
        self._group = settings.group
        self._path = f"{settings.dir}/{VERIFY_FILE}"
        self._made = f"{settings.dir}/{PRIVATE_DIR}/{VERIFY_FILE}"
        self._post = post
        self._nonce = ""
        """Of the request that stands on the volume; else empty."""
        self._began = self._again_at = 0.0
        if volume.is_ours():  # an agent that was killed has left its request
            self._remove()

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin or end a verification, and return the answer.

        Raises `WishRefused` if one came a moment ago or still runs.
        """
        if request["command"] == "end-verify":
            if request["nonce"] == self._nonce:
                self.end()
            return {"nonce": request["nonce"]}
        kinds, roles, seconds = _read(request)
        now = time.monotonic()
        if self._nonce or now < self._again_at:
            has = "is running" if self._nonce else "has just ended"
            raise WishRefused(
                f"another verification {has}",
                f"try again in {max(1, round(self._again_at - now))} s",
            )
        nonce = secrets.token_hex(6)
        self._write(encode_ask(Ask(nonce, time.time() + seconds, kinds, roles)))
        self._nonce, self._began = nonce, now
        self._again_at = now + max(seconds, AGAIN_SECONDS)
        over = partial(self._post, partial(self._over, nonce))
        timer = threading.Timer(seconds, over)
        timer.daemon = True
        timer.start()
        log.info(
            "a verification has begun: processes send test items",
            nonce=nonce,
            kinds=kinds,
            roles=roles or "all",
        )
        return {"nonce": nonce}

    def end(self) -> None:
        """Remove the request, if there is one."""
        if self._nonce:
            log.info("the verification has ended", nonce=self._nonce)
            self._nonce = ""
            self._again_at = min(self._again_at, self._began + AGAIN_SECONDS)
            self._remove()

    def _over(self, nonce: str) -> None:
        if nonce == self._nonce:
            self.end()

    def _write(self, body: bytes) -> None:
        self._volume.keep(VERIFY_FILE, body, flush=False)
        with as_publish_error(self._path):
            own(self._made, FILE_MODE, gid_of(self._group))
            try:
                os.replace(self._made, self._path)
            except OSError as error:
                error.filename = self._path  # what is in the way
                raise

    def _remove(self) -> None:
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning(
                "cannot remove the request for test items",
                path=self._path,
                reason=error.strerror,
                hint="remove the file; processes ignore the request in it from now on",
            )


def _read(request: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...], float]:
    """Return kinds, roles and seconds of a request, or raise `RequestUnknown`."""
    try:
        kinds = tuple(filter(None, str(request["kinds"]).split(",")))
        roles = tuple(
            role_name(role) for role in filter(None, str(request["roles"]).split(","))
        )
        seconds = formats.number(request["seconds"])
    except ValueError:
        raise RequestUnknown from None
    if not kinds or not {*kinds} <= {*KINDS} or not 0 < seconds <= SECONDS_LIMIT:
        raise RequestUnknown
    return kinds, roles, seconds
