"""`alerts notice deploy`: tells Sentry and Alertmanagers of a deployment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.noticing import answer_of, tell_all
from agent.errors import AgentError, SettingsError

if TYPE_CHECKING:
    from agent.alerts.releases import Deployment
    from agent.cli.answer import Answer
    from agent.cli.noticing import Sentry
    from agent.settings import Loaded, Settings


@options.command("alerts notice deploy")
@click.option(
    "--release", required=True, metavar="VERSION", help="As SENTRY_RELEASE names it."
)
@click.option(
    "--in",
    "place",
    required=True,
    metavar="ENVIRONMENT",
    help="Where it runs now, as SENTRY_ENVIRONMENT names it.",
)
@click.option(
    "--name",
    default="",
    metavar="TEXT",
    help="Tells deploys of one release apart, as the number of the CI's run.",
)
@click.option("--url", default="", metavar="URL", help="Where to read about it.")
def command(loaded: Loaded, *, release: str, place: str, name: str, url: str) -> Answer:
    """Tell Sentry and the Alertmanagers of a deployment.

    In Sentry it makes the release and a deploy of it (RESENTRY_SENTRY_API; the token needs
    the scope org:ci). To each Alertmanager of RESENTRY_BRIDGE_ALERTMANAGERS it posts an
    alert of severity info, which ends after an hour. It can be repeated.
    """
    from agent.alerts.notices import DEPLOY_SECONDS, deployed  # noqa: PLC0415 - heavy
    from agent.alerts.releases import Deployment  # noqa: PLC0415 - heavy

    settings, now = loaded.settings, time.time()
    if not (settings.sentry_api or settings.bridge_alertmanagers):
        raise SettingsError(
            "there is nobody to tell: neither Sentry nor an Alertmanager is set",
            "set RESENTRY_SENTRY_API, RESENTRY_BRIDGE_ALERTMANAGERS, or both",
        )
    project = settings.sentry_project
    deployment = Deployment(project, release, place, name, url)
    sentry: Sentry | None = None
    failed = None
    if settings.sentry_api:
        try:
            sentry = _in_sentry(settings, deployment)
        except SettingsError:
            raise
        except AgentError as error:
            sentry, failed = "failed", error
    alert = deployed(project, release, place, url, now)
    told = tell_all(settings, lambda manager: manager.tell(alert))
    return answer_of(told, now + DEPLOY_SECONDS, sentry, failed)


def _in_sentry(settings: Settings, deployment: Deployment) -> Sentry:
    from agent.alerts.releases import SUBJECT, tell  # noqa: PLC0415 - heavy
    from agent.sentry_api.open import open_api  # noqa: PLC0415 - heavy

    api = open_api(settings, SUBJECT)
    is_new = tell(api, settings.sentry_organization, deployment)
    return "new" if is_new else "known"
