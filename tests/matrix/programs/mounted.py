"""One application of the framework in MOUNTED: each request says what goes out of it.

`users` and `orders` take a number; `health` takes none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sentry_sdk

import resentry

if TYPE_CHECKING:
    from sentry_sdk.integrations import Integration
    from starlette.requests import Request

NAMES = ("users", "orders")
FRAMEWORK = os.environ["MOUNTED"]


def outgoing() -> dict[str, str]:
    """Return the headers that another service would be sent."""
    return dict(sentry_sdk.get_current_scope().iter_trace_propagation_headers())


def start(*integrations: Integration) -> None:
    """Start the library with the framework's integration alone."""
    options: dict[str, Any] = {"trace_lifecycle": os.environ["MODE"]}
    resentry.init(
        integrations=integrations, auto_enabling_integrations=False, **options
    )


def flask_app() -> Any:
    """Return a Flask application."""
    from flask import Flask  # noqa: PLC0415 - one framework a process
    from sentry_sdk.integrations.flask import FlaskIntegration  # noqa: PLC0415

    start(FlaskIntegration())
    made = Flask(__name__)
    for name in NAMES:
        made.add_url_rule(f"/{name}/<int:number>", name, lambda number: outgoing())  # noqa: ARG005
    made.add_url_rule("/health", "health", outgoing)
    return made


def django_app() -> Any:
    """Return a Django application."""
    from django.conf import settings  # noqa: PLC0415 - one framework a process
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415
    from django.http import HttpRequest, JsonResponse  # noqa: PLC0415
    from django.urls import path  # noqa: PLC0415
    from sentry_sdk.integrations.django import DjangoIntegration  # noqa: PLC0415

    start(DjangoIntegration())
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="none")

    def view(_request: HttpRequest, **_: int) -> JsonResponse:
        return JsonResponse(outgoing())

    found = [path(f"{name}/<int:number>", view) for name in NAMES]
    globals()["urlpatterns"] = [*found, path("health", view)]
    return get_wsgi_application()


def starlette_app() -> Any:
    """Return a Starlette application."""
    from sentry_sdk.integrations.starlette import (  # noqa: PLC0415
        StarletteIntegration,
    )
    from starlette.applications import Starlette  # noqa: PLC0415 - one a process
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Mount, Route  # noqa: PLC0415

    start(StarletteIntegration())

    async def view(_request: Request) -> JSONResponse:
        return JSONResponse(outgoing())

    routes: list[Any] = [Route(f"/{name}/{{number}}", view) for name in NAMES]
    routes.append(Route("/health", view))
    if FRAMEWORK == "mount":
        routes = [Mount("/shop", routes=routes)]
    return Starlette(routes=routes)


def fastapi_app() -> Any:
    """Return a FastAPI application that knows the prefix which a proxy takes away."""
    from fastapi import FastAPI  # noqa: PLC0415 - one framework a process
    from sentry_sdk.integrations.fastapi import FastApiIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.starlette import (  # noqa: PLC0415
        StarletteIntegration,
    )

    start(StarletteIntegration(), FastApiIntegration())
    made = FastAPI(root_path="/shop")
    for name in NAMES:
        made.add_api_route(f"/{name}/{{number}}", outgoing)
    made.add_api_route("/health", outgoing)
    return made


MAKERS = {"flask": flask_app, "django": django_app, "fastapi": fastapi_app}
app = MAKERS.get(FRAMEWORK, starlette_app)()
