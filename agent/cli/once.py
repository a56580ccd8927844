"""`once`: a single pass."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from agent.cli import options
from agent.cli.answer import Answer, error_of
from agent.cli.gather import LOOK_SECONDS
from agent.cli.lines import receiver_lines
from agent.cli.refresh import accept_older_option
from agent.cli.results import OnceResult
from agent.domain.passes import Moment, Passes
from agent.domain.value import replace
from agent.domain.view import View
from agent.errors import PublishError
from agent.observe import document
from agent.parts import assemble
from agent.pipeline import Pipeline
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from agent.domain.outcome import Outcome
    from agent.domain.rollout import Rollout
    from agent.domain.view import Known
    from agent.parts import Parts
    from agent.settings import Loaded


@options.command("once", with_all_settings=True)
@accept_older_option
def command(loaded: Loaded, *, accept_older: bool) -> Answer:
    """Do one pass, and exit.

    Exits with 0 if what the source holds is published now. With --dsn-check enforce,
    waits until a new DSN has been accepted or rejected.
    """
    began = time.monotonic()
    parts = assemble(loaded.settings)
    outcome, known = _passes(parts, accept_older=accept_older)
    source, tuning = parts.source.report(), parts.tuning.report()
    parts.source.close()
    parts.tuning.close()
    parts.receivers.wait(loaded.settings.notify_seconds)
    rollout = _rollout(parts, known)
    _keep_state(
        parts,
        outcome,
        View(known, Passes(began), began, rollout, None, source, tuning),
    )
    receivers = document.receivers(parts.receivers.report())
    result = msgspec.convert(
        {
            **document.published_of(outcome),
            "rollout": {"state": rollout.state, "sentence": rollout.sentence},
            "notify": msgspec.to_builtins(receivers),
        },
        OnceResult,
    )
    lines = [outcome.sentence]
    lines += [f"  {line}" for line in (*outcome.notes, outcome.hint) if line]
    if outcome.exit_code == 0:
        lines.append(rollout.sentence)
    if outcome.kind == "published":
        lines += [f"notify: {line}" for line in receiver_lines(receivers)]
    return Answer(
        result,
        tuple(lines),
        error_of(outcome.exit_code, outcome.sentence, outcome.hint),
        outcome.exit_code,
        is_failure=outcome.exit_code != 0,
    )


def _passes(parts: Parts, *, accept_older: bool = False) -> tuple[Outcome, Known]:
    """Do one pass; another one as long as a new DSN waits for its verdict."""
    pipeline = Pipeline(parts, is_patient=True)
    while True:
        before = parts.gate.report()
        until = time.monotonic() + parts.settings.pass_seconds
        reading = pipeline.read(until, accept_older=accept_older)
        outcome = pipeline.publish(reading, pipeline.known.wishes)
        if outcome.kind != "checking":
            problems = tuple(each.what for each in parts.tuning.problems)
            notes = outcome.notes + problems
            return replace(outcome, notes=notes), pipeline.known
        while parts.gate.report() == before:
            time.sleep(LOOK_SECONDS)


def _rollout(parts: Parts, known: Known) -> Rollout:
    settings = parts.settings
    late = time.monotonic() - known.published_at > settings.confirm_seconds
    return parts.receipts.rollout(known.current, settings.min_targets, late=late)


def _keep_state(parts: Parts, outcome: Outcome, view: View) -> None:
    """Write what `status` shows of the pass, as the daemon does."""
    saved = document.decode_state(parts.volume.memory.read(STATE))
    now = Moment(time.time(), time.monotonic())
    before = Passes.resumed(saved, view.began_at)
    view = replace(
        view,
        passes=before.after(outcome, now, now.monotonic - view.began_at),
        dsn_checks=parts.gate.report(),
        deliveries=parts.receivers.report(),
    )
    body = document.encode_state(view, saved.get("rejections"))
    with contextlib.suppress(PublishError):  # the outcome names what is wrong there
        parts.volume.keep(STATE, body, flush=False)
