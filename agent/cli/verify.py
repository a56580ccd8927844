"""`verify`: whether events of each process arrive at the server."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from agent.call import Silent, answer_seconds, call, call_once
from agent.cli import options
from agent.cli.answer import NO, UNEXAMINED, Answer
from agent.cli.ask import MORE_SECONDS
from agent.cli.gather import LOOK_SECONDS
from agent.cli.verified import document_of, lines_of
from agent.confirm.receipts import Receipts
from agent.domain import verified
from agent.domain.structured import role_name
from agent.domain.value import replace
from agent.errors import AgentError
from agent.observe import stderr
from agent.observe.results import Error
from resentry import formats
from resentry.verification import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent.cli.read_back import Judge
    from agent.domain.rollout import LiveTarget
    from agent.domain.verified import Part
    from agent.settings import Loaded, Settings

RENEW_SECONDS = 5.0
"""The pause between two signs of life. The agent waits three times as long."""


def _seconds(_context: object, _option: object, text: str) -> float:
    try:
        seconds = formats.number(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= verified.SECONDS_LIMIT:
        limit = f"{verified.SECONDS_LIMIT:g}"
        raise click.BadParameter(f"must be a number of seconds, at most {limit}")
    return seconds


def _roles(
    _context: object, _option: object, roles: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(map(role_name, roles))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@options.command("verify")
@click.option(
    "--role",
    "roles",
    metavar="ROLE",
    multiple=True,
    callback=_roles,
    help="Ask processes of this role only; may be given more than once.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Send this kind only; may be given more than once.",
)
@click.option(
    "--stored",
    is_flag=True,
    help="Read each item back from the server. Needs RESENTRY_VERIFY_API and a token.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show which processes would be asked, and end."
)
@click.option(
    "--timeout",
    default="30",
    show_default=True,
    callback=_seconds,
    metavar="SECONDS",
    help="Time limit for the processes, and again for the server with --stored.",
)
def command(
    loaded: Loaded,
    *,
    roles: tuple[str, ...],
    kinds: tuple[str, ...],
    stored: bool,
    dry_run: bool,
    timeout: float,
) -> Answer:
    """Have each process send test events, and show what arrived.

    Each process sends an error, a message, a transaction, a log and, with OTLP, a span,
    whatever the rates say. Each item has level info and the fingerprint resentry-verify, so
    all of them make one issue. Exits with 0 if the server accepted each item, with 1 if not,
    with 3 if something could not be examined, and with 68 if another verification runs or has
    just ended.
    """
    settings, named, kinds = loaded.settings, kinds, kinds or KINDS
    seen = Receipts(settings.receipts_dir).look()
    asked = [target for target in seen.targets if _is_asked(target, roles)]
    asked.sort(key=lambda target: (target.receipt.role, target.receipt.pid))
    reasons = filter(None, (seen.unknown, _lacking(settings, asked, roles)))
    unknown = ("; ".join(reasons), "resentry-agent doctor --area targets")
    if dry_run:
        parts = [verified.expect(target) for target in asked]
        return _answer(parts, None, kinds, unknown, roles)
    from agent.cli import read_back  # noqa: PLC0415 - with http.client and ssl

    server = read_back.open_server(settings) if stored else None
    if not asked:
        return _answer([], None, kinds, unknown, roles)
    nonce = _begin(settings, kinds, roles, timeout)
    judge = partial(verified.judge, nonce=nonce, kinds=kinds)
    try:
        plural = "es" * (len(asked) != 1)
        stderr.say(f"asked {len(asked)} process{plural}; nonce {nonce}")
        renew = partial(_renew, settings, nonce)
        parts = _wait(settings, asked, judge, time.monotonic() + timeout, renew)
    finally:
        _end(settings, nonce)
    parts = read_back.judge_by_server(settings, parts, judge)
    if server is not None:
        parts = read_back.read_back(settings, parts, server, time.monotonic() + timeout)
    if not unknown[0]:
        unknown = verified.unexamined(parts, named)
    return _answer(parts, nonce, kinds, unknown, roles)


def _is_asked(target: LiveTarget, roles: Sequence[str]) -> bool:
    """Whether a process is asked. One whose role is not known may have any."""
    return not roles or not target.readable or target.receipt.role in roles


def _lacking(
    settings: Settings, asked: Sequence[LiveTarget], roles: Sequence[str]
) -> str:
    """Return which workers are missing: nobody can ask them. Empty if none is."""
    workers = Counter(target.receipt.role for target in asked if not target.main)
    lacking = [
        f"{number - workers[role]} {role}"
        for role, number in settings.min_targets.items()
        if workers[role] < number and (not roles or role in roles)
    ]
    return f"missing processes (RESENTRY_MIN_TARGETS): {', '.join(lacking)}" * bool(
        lacking
    )


def _begin(
    settings: Settings, kinds: Sequence[str], roles: Sequence[str], seconds: float
) -> str:
    request = {
        "command": "verify",
        "kinds": ",".join(kinds),
        "roles": ",".join(roles),
        "seconds": seconds,
    }
    return str(_ask(settings, request)["nonce"])


def _renew(settings: Settings, nonce: str) -> None:
    """Give a sign of life: the agent soon ends the request of a killed command."""
    request = {"command": "renew-verify", "nonce": nonce}
    with contextlib.suppress(
        AgentError, Silent
    ):  # the processes may answer all the same
        call_once(settings.control_path, request, LOOK_SECONDS)


def _end(settings: Settings, nonce: str) -> None:
    with contextlib.suppress(
        AgentError
    ):  # then the agent ends it when its time is over
        _ask(settings, {"command": "end-verify", "nonce": nonce})


def _ask(settings: Settings, request: dict[str, Any]) -> dict[str, Any]:
    request["request_id"] = os.urandom(8).hex()
    seconds = answer_seconds(request, settings.pass_seconds) + MORE_SECONDS
    return call(settings.control_path, request, seconds)


def _wait(
    settings: Settings,
    asked: Sequence[LiveTarget],
    judge: Judge,
    until: float,
    renew: Callable[[], None],
) -> list[Part]:
    """Return the part of each process, when all have answered or the time is over."""
    parts = {target.receipt.id: judge(target) for target in asked}
    renew_at = time.monotonic() + RENEW_SECONDS
    while True:
        if time.monotonic() >= renew_at:
            renew()
            renew_at = time.monotonic() + RENEW_SECONDS
        live = {each.receipt.id: each for each in _live(settings)}
        for name, part in parts.items():
            if part.verdict == "waiting":
                parts[name] = _again(part, live.get(name), judge)
        is_waiting = any(part.verdict == "waiting" for part in parts.values())
        if not is_waiting or time.monotonic() >= until:
            return [
                verified.overdue(part) if part.verdict == "waiting" else part
                for part in parts.values()
            ]
        time.sleep(LOOK_SECONDS)


def _live(settings: Settings) -> Iterable[LiveTarget]:
    return Receipts(settings.receipts_dir).read()


def _again(before: Part, target: LiveTarget | None, judge: Judge) -> Part:
    """Judge a process again. Says so on standard error once it has answered."""
    if target is None:
        part = replace(
            before,
            verdict="unknown",
            sentence="ended before the server had answered",
            hint="run resentry-agent verify again",
        )
    else:
        part = judge(target)
    if part.verdict != "waiting":
        stderr.say(f"{part.target.name}: {part.sentence}")
    return part


def _answer(
    parts: Sequence[Part],
    nonce: str | None,
    kinds: Sequence[str],
    unknown: tuple[str, str],
    roles: Sequence[str],
) -> Answer:
    error, code = _error(parts, unknown, roles)
    sentence = verified.sentence_of(parts, is_dry=nonce is None)
    if error is not None and not parts:
        sentence = error.what
    result = document_of(parts, nonce, kinds, unknown[0], sentence)
    return Answer(result, tuple(lines_of(result)), error, code)


def _error(
    parts: Sequence[Part], unknown: tuple[str, str], roles: Sequence[str]
) -> tuple[Error | None, int]:
    """Return the error. `unknown` is what could not be examined, and what to do."""
    what, hint = unknown
    if not parts and not what:
        of_roles = f" of role {' or '.join(roles)}" if roles else ""
        return Error(
            code="NotVerified",
            what=f"no process{of_roles} has given a receipt, so nothing was sent",
            hint="start the application; resentry-agent status shows the processes",
        ), NO
    for verdict, error_code, exit_code in (
        ("failed", "NotVerified", NO),
        ("unknown", "NotExamined", UNEXAMINED),
    ):
        for part in parts:
            if part.verdict == verdict:
                reason, remedy = verified.reason_of(part)
                return Error(code=error_code, what=reason, hint=remedy), exit_code
    if what:
        return Error(code="NotExamined", what=what, hint=hint), UNEXAMINED
    return None, 0
