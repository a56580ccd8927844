"""Has processes send test items: writes `verify.json` on the volume, and removes it.

Only the loop's thread calls this module.
"""

from __future__ import annotations

import os
import secrets
import time
from typing import TYPE_CHECKING, Any

import structlog

from agent.backoff import NEVER
from agent.domain.structured import role_name
from agent.domain.verified import SECONDS_LIMIT
from agent.errors import Busy, PublishError, RequestUnknown
from agent.publish.files import FILE_MODE, as_publish_error, gid_of, own, read_file
from agent.publish.names import PRIVATE_DIR
from resentry import formats
from resentry.schema import ContractError
from resentry.verification import (
    AGAIN_SECONDS,
    KINDS,
    VERIFY_FILE,
    Ask,
    decode_ask,
    encode_ask,
)

if TYPE_CHECKING:
    from agent.publish.volume import Volume
    from agent.settings import Settings

VERIFY_COMMANDS = ("verify", "renew-verify", "end-verify")
LEASE_SECONDS = 15.0
"""A request ends so long after its command has given the last sign of life."""

log = structlog.get_logger()


class Verification:
    """The request that stands on the volume, if there is one.

    Args:
        volume: on which the request is written.
        settings: which name the volume's group.

    """

    def __init__(self, volume: Volume, settings: Settings) -> None:
        self._volume = volume
        self._group = settings.group
        self._path = f"{settings.dir}/{VERIFY_FILE}"
        self._made = f"{settings.dir}/{PRIVATE_DIR}/{VERIFY_FILE}"
        self._is_swept = False
        """Whether the request of an agent that was killed has been removed."""
        self._nonce = ""
        """Of the request that stands on the volume; else empty."""
        self.ends_at = NEVER
        """When `look` ends the request, as a monotonic time."""
        self._began = self._again_at = self._until = 0.0

    def look(self) -> None:
        """End a request whose time is over. Remove what an earlier agent left."""
        if not self._is_swept and self._volume.is_ours():
            self._is_swept = True
            self._remove()
        if time.monotonic() >= self.ends_at:
            self.end()

    def serve(self, request: dict[str, Any]) -> dict[str, Any]:
        """Begin, renew or end a verification, and return the answer.

        Raises `Busy` if one came a moment ago or still runs.
        """
        self.look()
        if request["command"] != "verify":
            if request["nonce"] == self._nonce:
                self._go_on_or_end(request["command"])
            return {"nonce": request["nonce"]}
        kinds, roles, seconds = _read(request)
        now = time.monotonic()
        if self._nonce or now < self._again_at:
            has = "is running" if self._nonce else "has just ended"
            most = "at most " if self._nonce else ""
            raise Busy(
                f"another verification {has}",
                f"try again in {most}{max(1, round(self._again_at - now))} s",
            )
        nonce = secrets.token_hex(6)
        self._write(encode_ask(Ask(nonce, time.time() + seconds, kinds, roles)))
        self._nonce, self._began, self._until = nonce, now, now + seconds
        self._again_at = now + max(seconds, AGAIN_SECONDS)
        self.ends_at = min(self._until, now + LEASE_SECONDS)
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
            self._nonce, self.ends_at = "", NEVER
            self._again_at = min(self._again_at, self._began + AGAIN_SECONDS)
            self._remove()

    def _go_on_or_end(self, command: str) -> None:
        if command == "end-verify":
            self.end()
        else:
            self.ends_at = min(self._until, time.monotonic() + LEASE_SECONDS)

    def _is_own(self) -> bool:
        """Whether an agent has made the file that has the request's name."""
        try:
            decode_ask(read_file(self._path) or b"")
        except ContractError:
            return False
        return True

    def _write(self, body: bytes) -> None:
        if os.path.lexists(self._path) and not self._is_own():
            raise PublishError(
                f"{self._path} is in the way: no agent has made it",
                "move the file elsewhere, then run resentry-agent verify again",
            )
        self._volume.keep(VERIFY_FILE, body, flush=False)
        with as_publish_error(self._path):
            own(self._made, FILE_MODE, gid_of(self._group))
            try:
                os.replace(self._made, self._path)
            except OSError as error:
                error.filename = self._path  # what is in the way
                raise

    def _remove(self) -> None:
        if not self._is_own():
            return
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
