"""Carries a rotation on for `rotate`, and shows how it goes."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

from agent.backoff import retry_seconds
from agent.cli.answer import NO, Answer
from agent.cli.results import RotateResult
from agent.domain.dsn_check import project_of
from agent.errors import AgentError
from agent.observe import stderr
from agent.observe.results import Error
from resentry.contract import time_text
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.rotation.journal import Journal
    from agent.rotation.open import Choice, Opened
    from agent.rotation.rules import Fleet

VERSIONS = 5
"""Of the secret, so many have to be kept where a person makes the keys."""
LOOK_SECONDS = 2.0
"""The time between two steps while a phase waits."""
LONGEST_SECONDS = 300.0
"""The longest time between two tries of a step that fails."""
FAILURES_LIMIT = 12
"""With the pauses between them, about half an hour."""
NEXT = "resentry-agent rotate --resume goes on, --abort goes back"


def plan_lines(journal: Journal, opened: Opened, choice: Choice) -> Iterator[str]:
    """Say what will be done, and what cannot be proved."""
    from agent.rotation.given import GivenKeys  # noqa: PLC0415 - heavy

    fleet = opened.servers.fleet()
    old, new = opened.secret.read().dsn, choice.new_dsn
    is_given = isinstance(opened.servers.keys, GivenKeys)
    yield f"rotation {journal.rotation} of {journal.secret}, now {show_dsn(old)}"
    if new and project_of(new) != project_of(old):
        yield (
            f"  warning: {show_dsn(new)} is of another server or project; events will go "
            "there"
        )
    if not fleet.processes:
        yield (
            "  warning: no process was found, so step 3 would never end: see that the "
            "application runs and calls resentry.init, and check RESENTRY_FLEET"
        )
    yield from _step_lines(journal, len(fleet.processes), new, is_given=is_given)
    yield from _leak_lines(journal, fleet, is_given=is_given)
    if journal.needs_quiet:
        yield "  not proved: the server counts errors alone, by the hour"
    else:
        yield "  not proved: that nothing comes by the old key; the time alone counts"
    kept = opened.secret.kept()
    if is_given and 0 < kept < VERSIONS:
        yield (
            f"  warning: Vault keeps {kept} versions of the secret, and only they have the "
            f"old DSN: set max_versions of {opened.secret.path} to {VERSIONS} or more"
        )
    if after := opened.file.lifetime():
        yield (
            f"  Vault deletes the journal after {after}, also of a rotation that goes on: "
            f"set delete_version_after of {opened.file.path} to 0s"
        )
    for name in fleet.silent:
        yield f"  not proved: what {name} runs; it counts as one with the old DSN"
    for process in fleet.processes:
        if not process.proves:
            yield f"  not proved: {process.name} may send by a DSN of its own"
    for trouble in fleet.troubles:
        yield f"  now: {trouble}"
    yield from force_lines(journal.forced, fleet)


def force_lines(forced: Iterable[str], fleet: Fleet) -> Iterator[str]:
    """Name what a person wants not to be waited for, and nobody knows."""
    from agent.rotation.rules import NOBODY_FOLLOWS  # noqa: PLC0415 - heavy

    known = {NOBODY_FOLLOWS, *fleet.silent, *(each.name for each in fleet.processes)}
    for name in sorted(set(forced) - known):
        yield f"  --force {name}: nothing has this name now"


def _step_lines(
    journal: Journal, processes: int, new: str, *, is_given: bool
) -> Iterator[str]:
    make = f"make the key {journal.key_name}"
    if new:
        make = "take the new DSN"
    elif is_given:
        make = "ask you for a new DSN"
    yield f"  1. {make}, and wait until the server has accepted it several times"
    yield "  2. write its DSN to Vault by check-and-set; the other keys stay"
    counted = "1 process runs" if processes == 1 else f"{processes} processes run"
    yield (
        f"  3. wait until {counted} it, and none can send by the DSN {journal.old}; "
        "processes that join count, too"
    )
    quiet = journal.quiet_seconds
    limit = "" if journal.deadline is None else ", at most until the deadline"
    yield (
        f"  4. wait until nobody has held the old DSN for {_span(quiet)}{limit}"
        if quiet
        else "  4. do not wait until the old key is quiet"
    )
    retire = "retire the old key, and wait"
    if is_given:
        retire = "wait until YOU disable the old key at the server, or delete it: no API does it; then"
    yield (
        f"  5. {retire} until the server has refused it for "
        f"{_span(journal.refused_seconds)}"
    )
    yield "  you can end this at any time: --resume goes on, --abort goes back"


def _leak_lines(journal: Journal, fleet: Fleet, *, is_given: bool) -> Iterator[str]:
    from agent.rotation.journal import named  # noqa: PLC0415 - heavy
    from agent.rotation.rules import holders  # noqa: PLC0415 - heavy

    if journal.deadline is None:
        return
    what = (
        "you are asked to disable the old key" if is_given else "the old key is retired"
    )
    yield (
        f"  leaked: at {time_text(journal.deadline, 'seconds')} {what}, once the new DSN "
        "is in Vault, whatever still holds the old one"
    )
    left = holders(fleet, journal.old, frozenset())
    yield f"  expected loss: the events of what holds it then; now {named(left) or 'nobody that is known'}"


def _span(seconds: float) -> str:
    """Return a duration as people say it."""
    whole = round(seconds)
    if whole >= 120 and whole % 60 == 0:
        return f"{whole // 60} minutes"
    return f"{whole} s"


def go_on(opened: Opened, journal: Journal) -> Answer:
    """Turn until the rotation has ended or is held; give the lock back.

    While Vault cannot be asked, the journal cannot be kept: this tries again, too.
    """
    shown, failures = "", 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # give the lock back
    try:
        while not journal.has_ended and not journal.held:
            pause, waits = 0.0, ""
            try:
                turn = opened.keeper.turn()
                journal, waits, failures = turn.journal, turn.waits_for, 0
                if journal.tries:
                    asked = turn.retry_after
                    pause = retry_seconds(journal.tries, LONGEST_SECONDS, asked)
            except AgentError as error:
                failures += 1
                if _is_lasting(error, failures):
                    error.hint = (
                        f"rotation {journal.rotation} is {journal.phase}: {NEXT}"
                    )
                    raise
                pause = retry_seconds(failures, LONGEST_SECONDS, error.retry_after)
                waits = error.what
            if journal.deadline is not None and journal.deadline > time.time():
                pause = min(pause, journal.deadline - time.time())
            way = ", going back" if journal.is_aborting else ""
            line = f"{journal.phase}{way}: {waits or journal.entries[-1].text}"
            if line != shown:
                stderr.say(f"{time_text(time.time(), 'seconds')} {line}")
                shown = line
            time.sleep(max(LOOK_SECONDS, pause) if waits else 0)
    except KeyboardInterrupt:
        stderr.say(NEXT)
        raise
    finally:
        with contextlib.suppress(AgentError):
            opened.keeper.leave()
    return answer_of(journal)


def _is_lasting(error: AgentError, failures: int) -> bool:
    return not error.retry_soon or failures >= FAILURES_LIMIT


def follow(opened: Opened, *, is_heir: bool = False) -> Journal:
    """Show how a rotation goes, until it has ended or is held.

    While Vault cannot be asked, this tries again. An heir carries the rotation on if its
    process is gone: then this returns when the lock ends.
    """
    from agent.rotation.keeper import RotationMissing  # noqa: PLC0415 - heavy

    entries, shown, failures = 0, "", 0
    while True:
        try:
            journal, _ = opened.file.load()
        except AgentError as error:
            failures += 1
            if _is_lasting(error, failures):
                raise
            if error.what != shown:
                stderr.say(f"{time_text(time.time(), 'seconds')} {error.what}")
            shown = error.what
            time.sleep(retry_seconds(failures, LONGEST_SECONDS, error.retry_after))
            continue
        failures = 0
        if journal is None:
            raise RotationMissing(
                "there was no rotation of this secret",
                "resentry-agent rotate begins one",
            )
        for entry in journal.entries[entries:]:
            stderr.say(f"{entry.at} {entry.phase}: {entry.text}")
        entries = len(journal.entries)
        is_left = time.time() >= journal.until
        if journal.has_ended or journal.held or (is_heir and is_left):
            return journal
        waits = journal.waits
        if is_left:
            waits = f"no process carries this rotation on: {NEXT}"
        if waits and waits != shown:
            stderr.say(f"{time_text(time.time(), 'seconds')} {journal.phase}: {waits}")
        shown = waits
        time.sleep(LOOK_SECONDS)


def answer_of(journal: Journal, *, is_dry: bool = False) -> Answer:
    """Return the answer of a command that has a rotation's journal."""
    left_out = sorted({*journal.left_out, *journal.forced})
    result = RotateResult(
        rotation=journal.rotation,
        phase=journal.phase,
        old=journal.old,
        new=journal.new,
        held=journal.held,
        left_out=left_out,
        entries=[f"{each.at} {each.phase}: {each.text}" for each in journal.entries],
    )
    if is_dry:
        return Answer(result, ("nothing was changed",))
    text = f"rotation {journal.rotation} is {journal.phase}"
    if left_out and journal.has_ended:
        text += (
            f", but this was left out: {', '.join(left_out)}; restart what still runs there, "
            "else its events may be lost"
        )
    if not journal.held:
        return Answer(result, (text,))
    error = Error(
        code="RotationHeld",
        what=f"{text}, and held: {journal.held}",
        hint="correct it, then resentry-agent rotate --resume; --abort goes back",
    )
    return Answer(result, (error.what, f"  {error.hint}"), error, NO)
