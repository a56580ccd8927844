"""A Django application in one file: each request reports one event."""

from __future__ import annotations

from captures import capture, start
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from sentry_sdk.integrations.django import DjangoIntegration

start("api", DjangoIntegration())
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="none")


@csrf_exempt
def event(_request: HttpRequest, number: int) -> JsonResponse:
    return JsonResponse(capture(number), safe=False)


urlpatterns = [path("event/<int:number>", event)]
app = get_wsgi_application()
