"""Tells Sentry of a deployment: its release, and the deploy of that release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agent.sentry_api.client import Subject, foreign

if TYPE_CHECKING:
    from agent.sentry_api.client import SentryApi

SUBJECT = Subject("releases", "org:ci (or project:releases)")


class Deployment(NamedTuple):
    """A release that runs in an environment from now on.

    `name` tells it from others of the same release and environment, as the number of the
    run that made it.
    """

    project: str
    release: str
    environment: str
    name: str = ""
    url: str = ""


def tell(api: SentryApi, organization: str, deployment: Deployment) -> bool:
    """Make the release and the deploy, unless they are there; return whether it was new.

    Making a release again does nothing. Making a deploy again makes a second one, so its
    environment and name are looked for first. Raises `SentryApiError`.
    """
    releases = ("organizations", organization, "releases")
    wanted = {"version": deployment.release, "projects": [deployment.project]}
    api.ask("POST", *releases, body=wanted)
    deploys = (*releases, deployment.release, "deploys")
    for each in api.all(*deploys):
        try:
            known = (each["environment"], each["name"] or "")
        except (KeyError, TypeError):
            raise foreign() from None
        if known == (deployment.environment, deployment.name):
            return False
    body: dict[str, Any] = {
        "environment": deployment.environment,
        "projects": [deployment.project],
    }
    if deployment.name:
        body["name"] = deployment.name
    if deployment.url:
        body["url"] = deployment.url
    api.ask("POST", *deploys, body=body)
    return True
