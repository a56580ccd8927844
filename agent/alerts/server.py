"""The monitors and alerts of one project, by Sentry's web API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.alerts import bodies
from agent.alerts.plan import Held, wanted
from agent.errors import SettingsError
from agent.sentry_api.client import Subject, foreign
from agent.sentry_api.errors import SentryApiAbsent, SentryApiError, SentryApiGone
from agent.sentry_api.open import open_api

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.alerts.bodies import Body
    from agent.alerts.plan import Change
    from agent.alerts.rule_file import RuleFile
    from agent.sentry_api.client import SentryApi
    from agent.settings import Settings

SUBJECT = Subject(
    "alerts", "alerts:write, and org:read if the file names an integration"
)
_INSTEAD = "the rules of Prometheus in k8s/monitoring work with every server"
THINGS = {"monitor": "detectors", "alert": "workflows"}
"""How the API calls them."""


class Server:
    """The monitors and alerts of one project.

    Args:
        api: the server.
        organization: its slug or id.
        project: its slug or id.

    """

    def __init__(self, api: SentryApi, organization: str, project: str) -> None:
        self._api, self._organization, self._project = api, organization, project
        self._path = ("organizations", organization)

    def held(self) -> Held:
        """Return what the server holds. Raises `SentryApiError`."""
        try:
            monitors = self._api.all(
                *self._path, "detectors", params={"project": self._project}
            )
        except SentryApiGone:
            raise
        except SentryApiAbsent as error:
            raise self._why_absent(error) from None
        alerts = self._api.all(*self._path, "workflows")
        for each in (*monitors, *alerts):
            if not (isinstance(each, dict) and {"id", "name"} <= each.keys()):
                raise foreign()
        return Held(monitors, alerts)

    def app(self, notify: str | int) -> str:
        """Return the id of the integration that Sentry is to call.

        Raises `SettingsError` if the organization has none of that name.
        """
        if isinstance(notify, int):
            return str(notify)
        slugs = {}
        for each in self._api.all(*self._path, "sentry-app-installations"):
            try:
                slugs[str(each["app"]["slug"])] = str(each["app"]["sentryAppId"])
            except (KeyError, TypeError):
                raise foreign() from None
        if notify not in slugs:
            known = ", ".join(sorted(slugs)) or "none"
            raise SettingsError(
                f"the organization has no integration {notify!r}; it has: {known}",
                "make an internal integration in Sentry (docs/bridge.md), or correct "
                "`notify`",
            )
        return slugs[notify]

    def change(
        self, rules: RuleFile, app: str, held: Held, changes: Iterable[Change]
    ) -> Iterator[Change]:
        """Make these changes, and yield each that is made.

        Each can be made again: what is there is found by its name. Raises `SentryApiError`.
        """
        makers = {rules.name_of(rule): rule for rule in rules.metrics}
        ids = {str(each["name"]): str(each["id"]) for each in held.monitors}
        errors = held.errors() if rules.issues else ""
        for change in changes:
            if change.verb == "delete":
                self._delete(change)
            elif change.kind == "monitor":
                body = bodies.monitor_of(rules, makers[change.name])
                ids[change.name] = self._write(change, body)
            else:
                body = wanted(rules, ids, errors, app)[change.name]
                self._write(change, body)
            yield change

    def _write(self, change: Change, body: Body) -> str:
        """Create or change a thing, and return its id."""
        things = THINGS[change.kind]
        if change.verb == "change":
            body |= {"id": change.id} if change.kind == "alert" else {}
            self._api.ask("PUT", *self._path, things, change.id, body=body)
            return change.id
        of = ("projects", self._project) if change.kind == "monitor" else ()
        answer = self._api.ask("POST", *self._path, *of, things, body=body)
        try:
            return str(int(answer["id"]))
        except (KeyError, TypeError, ValueError):
            raise foreign() from None

    def _delete(self, change: Change) -> None:
        try:
            self._api.ask("DELETE", *self._path, THINGS[change.kind], change.id)
        except SentryApiGone:
            raise
        except SentryApiAbsent:
            return  # another has deleted it

    def _why_absent(self, error: SentryApiAbsent) -> SentryApiAbsent:
        """Return the error for a server that has only an API before this one, or none."""
        path = ("projects", self._organization, self._project, "rules")
        try:
            self._api.ask("GET", *path)
        except SentryApiError:
            return SentryApiAbsent(
                error.what,
                f"{error.hint}; GlitchTip and Bugsink have no such API: {_INSTEAD}",
            )
        return SentryApiAbsent(
            "this Sentry is older than the API of monitors and alerts",
            f"upgrade Sentry, or write the rules on its page; {_INSTEAD}",
        )


def opened(settings: Settings) -> Server:
    """Make the client from the settings."""
    return Server(
        open_api(settings, SUBJECT),
        settings.sentry_organization,
        settings.sentry_project,
    )
