"""The stand-in's HTTP: token, scopes, the checks against the description, bad answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from lab import messages
from lab.sentry_api import described
from lab.sentry_api.alerts import Alerts
from lab.sentry_api.issues import Issues
from lab.sentry_api.keys import Keys
from lab.sentry_api.releases import Releases
from lab.sentry_api.request import ABSENT, Reply, Request
from lab.server import Server

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

PREFIX = "/api/0/"


class Fault(NamedTuple):
    """One bad answer. With `lost` the server does what is asked, and says nothing.

    `through` is a good answer, before a bad one.
    """

    how: int | Literal["lost", "hang", "page", "through"]
    headers: dict[str, str] | None = None
    body: str = ""


class SentryApi(Keys, Server):
    """The API of one organization, and how it answers.

    Args:
        ingest: the host and port in the DSNs of its keys.
        token: the one that has the scopes `scopes`.
        is_glitchtip: whether `isActive` is ignored, as GlitchTip does.

    """

    def __init__(
        self,
        ingest: str,
        token: str = "sntryu_test",  # a token of the stand-in alone
        scopes: tuple[str, ...] = ("project:write",),
        *,
        is_glitchtip: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        Server.__init__(self, host=host)
        Keys.__init__(self, ingest, is_glitchtip=is_glitchtip)
        self.token, self.scopes = token, set(scopes)
        self.alerts = Alerts(self._project_id)
        self.releases = Releases()
        self.issues = Issues()
        self.faults: list[Fault] = []
        """The next answers, one each."""
        self.asked: list[tuple[str, str, int]] = []
        """Method, path and status of each request."""
        self.broken: list[str] = []
        """Where a request or an answer differs from the description."""

    @property
    def url(self) -> str:
        """Where Sentry is."""
        return f"http://{self.address}"

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        while message := await messages.read(reader):
            method, target, _ = message.start
            fault = self.faults.pop(0) if self.faults else None
            if fault is not None and fault.how == "hang":
                await self.pause(None)
            if fault is None or fault.how in ("lost", "through"):
                status, body, headers = self._respond(message)
            elif fault.how == "page":
                status, body, headers = 200, b"<html>sign in</html>", {}
            else:
                status, headers = int(fault.how), fault.headers or {}
                body = fault.body.encode()
            self.asked.append((method, urlsplit(target).path, status))
            if fault is not None and fault.how == "lost":
                return
            writer.write(messages.answer(status, body, headers))
            await writer.drain()

    def _respond(self, message: messages.Message) -> tuple[int, bytes, dict[str, str]]:
        method, target, _ = message.start
        url = urlsplit(target)
        request = Request(
            method,
            tuple(map(unquote, url.path.removeprefix(PREFIX).strip("/").split("/"))),
            parse_qs(url.query),
            json.loads(message.body) if message.body else {},
        )
        reply = (
            self.hours(request)
            or self.alerts.undescribed(request)
            or self._described(url.path, request, message.header("Authorization"))
        )
        body = b"" if reply.body is None else json.dumps(reply.body).encode()
        return reply.status, body, reply.headers

    def _described(self, address: str, request: Request, authorization: str) -> Reply:
        path = described.path_of(address)
        operation = (
            described.paths()[path].get(request.method.lower()) if path else None
        )
        if path is None or operation is None:
            return Reply(404, {"detail": "Unimplemented"})
        if authorization != f"Bearer {self.token}":
            return Reply(401, {"detail": "Invalid token"})
        if not self.scopes & set(operation["security"][0]["auth_token"]):
            return Reply(403, {"detail": "You do not have permission."})
        where = f"{request.method} {path}"
        self._check(where, operation.get("requestBody"), request.body)
        parts = (self, self.alerts, self.releases, self.issues)
        reply = next(filter(None, (part.answer(request) for part in parts)), ABSENT)
        answers = operation["responses"]
        if str(reply.status) not in answers:
            self.broken.append(f"{where} does not answer {reply.status}")
        elif reply.body is not None:
            answer = answers[str(reply.status)]
            self._check(f"{where} {reply.status}", answer, reply.body)
        return reply

    def _project_id(self, slug: str) -> int | None:
        project = self.projects.get(slug)
        return project.number if project else None

    def _check(
        self, where: str, holder: dict[str, object] | None, value: object
    ) -> None:
        for difference in described.differences(holder, value):
            self.broken.append(f"{where} {difference}")
