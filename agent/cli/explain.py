"""`explain`: why a trace or an error is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from agent.cli import options
from agent.cli.answer import UNEXAMINED, Answer, error_of
from agent.cli.explain_results import Explained, ExplainResult, ExplainStep
from agent.cli.gather import must_be_published
from agent.confirm.receipts import Receipts
from agent.domain.rollout import named_roles
from agent.domain.structured import role_name
from agent.domain.tuned import budget_uses, unhonoured
from agent.publish.volume import Volume
from resentry.error_sampling import ErrorSampler, Kind, class_names, own_class
from resentry.explanation import Told, explain_error, explain_trace
from resentry.formats import names_route
from resentry.sampling import Sampler
from resentry.steps import IN_PROCESS, Own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from agent.settings import Loaded
    from resentry.contract import Receipt, Snapshot
    from resentry.explanation import Explanation

UNKNOWN = Own(
    None,
    "not known here; resentry.explain in the process asks a sampler of the application",
    is_known=False,
)
FOREIGN = "the application called sentry_sdk.init itself: its own client decides"
OFF = "nothing is sent: these processes have no DSN, or Sentry is switched off for them"
NO_TRACES = "a process here has enable_tracing=False: only what OpenTelemetry makes is sampled so"
ROUTE = (
    "the name is a route, which is not known yet when the rate is decided: give a path, "
    "as in GET /users/7"
)
BASES_HINT = "give the base classes, too, each by one more --error"
CELERY = "SENTRY_ENABLE_FOR_CELERY"
TRACES, ERRORS = "SENTRY_TRACES_SAMPLE_RATE", "SENTRY_SAMPLE_RATE"


class Asked(NamedTuple):
    """What is to be explained."""

    name: str
    parent: bool | None
    kind: Kind | None
    """Of an error; `None` for a trace."""
    sampled: bool
    """Whether the application starts the trace with `sampled=True`."""


class Rates(NamedTuple):
    """The rates that run in processes, and what is not known of them."""

    traces: float | None
    errors: float
    notes: tuple[str, ...] = ()


@options.command("explain")
@click.argument("name", default="")
@click.option("--role", metavar="ROLE", help="Only for processes of this role.")
@click.option(
    "--parent",
    type=click.Choice(("yes", "no")),
    help="What the caller has decided; without it there is no caller.",
)
@click.option(
    "--sampled", is_flag=True, help="The application starts it with sampled=True."
)
@click.option(
    "--error",
    "classes",
    metavar="CLASS",
    multiple=True,
    help="Explain an error of this class, as app.errors.Declined. Give its base classes "
    "after it, each by one more --error; those of Python's own are known.",
)
@click.option("--logger", metavar="NAME", help="Explain an error of this logger.")
def command(  # noqa: PLR0913 - one argument per option
    loaded: Loaded,
    *,
    name: str,
    role: str | None,
    parent: str | None,
    sampled: bool,
    classes: tuple[str, ...],
    logger: str | None,
) -> Answer:
    """Say why a trace or an error is sent or not.

    Shows which step decides, what every other step says, and which part of a trace is
    missing. NAME is the name of a transaction or task at its start. Reads the volume alone:
    the published snapshot, and the rates that each process runs. Exits with 3 for a role
    that no process here has and that the snapshot does not name. For example:

    \b
        resentry-agent explain "GET /pay" --role api --parent no
        resentry-agent explain --error app.errors.Declined
    """  # noqa: D301 - the mark keeps the example on one line
    is_error = bool(classes or logger)
    if not name and not is_error:
        raise click.UsageError("give the name of a transaction, --error or --logger")
    if is_error and (parent or sampled):
        option = "--parent" if parent else "--sampled"
        raise click.UsageError(f"{option} is for a trace, not for an error")
    try:
        role = None if role is None else role_name(role)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--role") from None
    kind = Kind(tuple(_with_bases(classes)), logger or "") if is_error else None
    caller = None if parent is None else parent == "yes"
    asked = Asked(name, caller, kind, sampled)
    settings = loaded.settings
    current = must_be_published(Volume(settings.dir, settings.receipts_dir))
    targets = Receipts(settings.receipts_dir).read()
    receipts = [target.receipt for target in targets if target.readable]
    lacking = "" if len(receipts) < len(targets) else _lacking(current, receipts, role)
    explained, lines = [], [lacking] * bool(lacking)
    for of_role, rates, running in _groups(current, receipts, role):
        notes = rates.notes
        if kind is None:
            notes += tuple(_notes_on_traces(name, running))
        elif len(classes) == 1 and own_class(classes[0]) is None:
            notes += _notes_on_bases(current, of_role, kind)
        why = _explain(current, of_role, rates, running, asked)
        processes = len(running)
        explained.append(_document(why, of_role, processes, notes))
        whose = f"role {of_role}" if of_role else "every other role"
        plural = "es" * (processes != 1)
        lines += [f"{whose}, {processes} process{plural}", *why.lines(), *notes]
    result = ExplainResult(revision=current.revision, explained=explained)
    code = UNEXAMINED if lacking else 0
    hint = "correct --role, or run this beside a process of that role"
    return Answer(result, tuple(lines), error_of(code, lacking, hint), code)


def _lacking(current: Snapshot, receipts: list[Receipt], role: str | None) -> str:
    """Say that nothing knows a role: it may be mistyped. Without a process nobody knows."""
    living = {receipt.role for receipt in receipts}
    if role is None or not living or role in living | named_roles(current).keys():
        return ""
    return (
        f"no process here has the role {role}, and the snapshot does not name it; there "
        f"are processes of: {', '.join(sorted(living))}"
    )


def _with_bases(classes: tuple[str, ...]) -> Iterator[str]:
    """Return the classes; of Python's own also the bases."""
    for name in classes:
        own = own_class(name)
        yield from (name,) if own is None else class_names(own)


def _notes_on_traces(name: str, running: list[Receipt]) -> Iterator[str]:
    """Say why the answer may be of no trace that there is."""
    if names_route(name):
        yield ROUTE
    if any("enable_tracing" in (receipt.own or ()) for receipt in running):
        yield NO_TRACES


def _notes_on_bases(current: Snapshot, role: str, kind: Kind) -> tuple[str, ...]:
    """Say that a rule may fit a base class that nobody has named."""
    found = ErrorSampler(current, role, 1.0).find(kind)
    earlier = current.errors[: found.number] if found else current.errors
    if not any(rule.exception and rule.role in (None, role) for rule in earlier):
        return ()
    return (f"a rule may fit a base class of {kind.classes[0]}: {BASES_HINT}",)


def _groups(
    current: Snapshot, receipts: list[Receipt], role: str | None
) -> Iterator[tuple[str, Rates, list[Receipt]]]:
    """Return each role with its rates, and the live processes that have both."""
    living = {receipt.role for receipt in receipts}
    roles = (
        [role] if role is not None else sorted(living) or ["", *sorted(current.roles)]
    )
    for of_role in roles:
        running: dict[Rates, list[Receipt]] = {}
        for receipt in receipts:
            if receipt.role == of_role:
                running.setdefault(_rates_of(current, receipt), []).append(receipt)
        if not running:
            running[_published_rates(current, of_role)] = []
        for rates, having in running.items():
            yield of_role, rates, having


def _rates_of(current: Snapshot, receipt: Receipt) -> Rates:
    """Return the rates that a process runs."""
    if receipt.revision != current.revision:
        note = "some of these processes do not run this snapshot: see resentry-agent status"
        rates = _published_rates(current, receipt.role)
        return rates._replace(notes=(note, *rates.notes))
    ignored = unhonoured(current, receipt)
    old = f"these processes ignore {' and '.join(ignored)}: their library is too old"
    is_off = receipt.role == "celery" and receipt.values.get(CELERY) is False
    notes = (
        FOREIGN if receipt.foreign else "",
        OFF if is_off or not receipt.dsn else "",
        old if ignored else "",
    )
    return _read(receipt.values)._replace(notes=tuple(filter(None, notes)))


def _read(values: Mapping[str, Any]) -> Rates:
    return Rates(_number(values.get(TRACES)), _number(values.get(ERRORS, 1.0)) or 0.0)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _published_rates(current: Snapshot, role: str) -> Rates:
    """Return the rates of the snapshot, where no process says which ones run."""
    values = {**current.settings, **current.roles.get(role, {})}
    notes = tuple(
        f"{key} is not at the source: the process's own variable decides, which is not "
        "known here"
        for key in (TRACES, ERRORS)
        if key not in values
    )
    return _read(values)._replace(notes=notes)


def _explain(
    current: Snapshot, role: str, rates: Rates, running: list[Receipt], asked: Asked
) -> Explanation:
    kind = "transactions" if asked.kind is None else "errors"
    shares = {use.kind: use.share for use in budget_uses(current, role, running)}
    share = shares.get(kind)
    option = "traces_sampler" if asked.kind is None else "error_sampler"
    own = _own(option, running)
    if asked.kind is None:
        return explain_trace(
            Sampler(current, role),
            asked.name,
            parent=asked.parent,
            rate=rates.traces,
            own=own,
            told=Told(share),
            sampled=asked.sampled,
        )
    return explain_error(
        ErrorSampler(current, role, rates.errors),
        asked.kind,
        name=asked.name,
        rate=rates.errors,
        own=own,
        told=Told(share),
    )


def _own(option: str, running: list[Receipt]) -> Own | None:
    """Return what is known of a sampler of the application; `None` if it has none."""
    told = [receipt.own for receipt in running]
    if told and all(own is not None and option not in own for own in told):
        return None
    return UNKNOWN


def _document(
    why: Explanation, role: str, processes: int, notes: tuple[str, ...]
) -> Explained:
    is_known = not any(IN_PROCESS in step.text for step in why.steps)
    return Explained(
        role=role,
        processes=processes,
        rate=why.rate,
        decided_by=why.decided_by,
        bounded_by=list(why.bounded_by),
        steps=[
            ExplainStep(step=each.name, rate=each.rate, text=each.text)
            for each in why.steps
        ],
        gap=why.gap,
        sure=why.is_sure and is_known and not notes,
        sentence=why.sentence,
        notes=list(notes),
    )
