"""The frameworks and clients that services use: one small application each."""

from __future__ import annotations

import asyncio
import io
import logging
import os
from typing import Any

import sentry_sdk
from program import case, fail, main, other, pause, say, start

HEADERS = {
    "sentry-trace": "771a43a4192642f0b136d5159a501700-7a1b5d5f1a2b3c4d-1",
    "baggage": "sentry-trace_id=771a43a4192642f0b136d5159a501700,"
    "sentry-sample_rate=0.25,sentry-sample_rand=0.125000,sentry-sampled=true",
    "user-agent": "reader/1",
    "accept-language": "fr",
}
LESSON = {"title": "algebra", "rows": [1, 2]}


def wsgi(app: Any, path: str, body: bytes = b"") -> None:
    """Ask a WSGI application as a server does."""
    target, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "POST" if body else "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": target,
        "QUERY_STRING": query,
        "SERVER_NAME": "lms.example.org",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json" if body else "",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        **{f"HTTP_{k.upper().replace('-', '_')}": v for k, v in HEADERS.items()},
    }
    told = []
    try:
        answer = app(environ, lambda status, *_: told.append(status))
        told.append(b"".join(answer).decode()[:100])
        getattr(answer, "close", lambda: None)()
    except ValueError as error:
        told.append(repr(error))
    say(path=path, told=told)


def asgi(app: Any, path: str, body: bytes = b"") -> None:
    """Ask an ASGI application as a server does."""
    target, _, query = path.partition("?")
    headers = HEADERS | ({"content-type": "application/json"} if body else {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST" if body else "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("192.0.2.7", 4711),
        "server": ("lms.example.org", 80),
    }
    told = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message.get("status", message.get("body", b"").decode()[:100]))

    try:
        asyncio.run(app(scope, receive, send))
    except ValueError as error:
        told.append(repr(error))
    say(path=path, told=told)


def ask_all(ask: Any, app: Any) -> None:
    """Ask for a page, a page with a name in its path, a failure, a missing one."""
    for path in ("/lessons?page=2&order=", "/lessons/7", "/fail", "/missing"):
        ask(app, path)
        pause()
    ask(app, "/lessons", b'{"title": "algebra", "rows": [1, 2]}')


def flask() -> None:
    from flask import Flask, request
    from sentry_sdk.integrations.flask import FlaskIntegration

    start(integrations=[FlaskIntegration()])
    app = Flask("lms")

    @app.route("/lessons", methods=["GET", "POST"])
    def lessons() -> Any:
        if request.method == "POST":
            sentry_sdk.capture_message(f"posted {sorted(request.get_json())}")
        return LESSON

    @app.route("/lessons/<int:number>")
    def lesson(number: int) -> Any:
        pause()
        sentry_sdk.capture_message(f"lesson {number}")
        return {"number": number}

    @app.route("/fail")
    def failing() -> Any:
        fail()

    ask_all(wsgi, app)


def django() -> None:
    import django as framework
    from django.core.wsgi import get_wsgi_application
    from django.db import connection
    from django.http import JsonResponse
    from django.urls import path
    from sentry_sdk.integrations.django import DjangoIntegration

    start(integrations=[DjangoIntegration()])

    def lessons(request: Any) -> Any:
        if request.method == "POST":
            sentry_sdk.capture_message(f"posted {len(request.body)}")
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s", [1])
        return JsonResponse(LESSON)

    def lesson(_: Any, number: int) -> Any:
        pause()
        sentry_sdk.capture_message(f"lesson {number}")
        return JsonResponse({"number": number})

    def failing(_: Any) -> Any:
        fail()

    configure()
    framework.setup()
    globals()["urlpatterns"] = [
        path("lessons", lessons),
        path("lessons/<int:number>", lesson),
        path("fail", failing),
    ]
    ask_all(wsgi, get_wsgi_application())


def configure() -> None:
    """Tell Django the least that it wants."""
    from django.conf import settings

    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="none",
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        },
        LOGGING_CONFIG=None,
    )


def starlette() -> None:
    from sentry_sdk.integrations.starlette import StarletteIntegration
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Mount, Route

    start(integrations=[StarletteIntegration()])

    async def lessons(request: Any) -> Any:
        if request.method == "POST":
            sentry_sdk.capture_message(f"posted {sorted(await request.json())}")
        return JSONResponse(LESSON)

    async def lesson(request: Any) -> Any:
        pause()
        sentry_sdk.capture_message(f"lesson {request.path_params['token']}")
        return JSONResponse({})

    def failing(_: Any) -> Any:
        fail()

    routes = [
        Route("/lessons", lessons, methods=["GET", "POST"]),
        Mount("/lessons", routes=[Route("/{token:str}", lesson)]),
        Route("/fail", failing),
    ]
    ask_all(asgi, Starlette(routes=routes))


def fastapi() -> None:
    from fastapi import FastAPI
    from sentry_sdk.integrations.fastapi import FastApiIntegration
    from sentry_sdk.integrations.starlette import StarletteIntegration

    start(integrations=[StarletteIntegration(), FastApiIntegration()])
    app = FastAPI()

    @app.get("/lessons")
    async def lessons(page: int = 1) -> Any:
        sentry_sdk.metrics.count("pages", page)
        return LESSON

    @app.post("/lessons")
    async def add(lesson: dict[str, Any]) -> Any:
        sentry_sdk.capture_message(f"posted {sorted(lesson)}")
        return lesson

    @app.get("/lessons/{number}")
    async def lesson(number: int) -> Any:
        pause()
        sentry_sdk.capture_message(f"lesson {number}")
        return {"number": number}

    @app.get("/fail")
    def failing() -> Any:
        fail()

    ask_all(asgi, app)


def with_and_without_pii(framework: Any) -> None:
    """Make two cases of a framework: personal data is handled otherwise."""
    name = framework.__name__
    title = {"fastapi": "FastAPI"}.get(name, name.capitalize())

    def off() -> None:
        framework()

    def on() -> None:
        framework()

    off.__name__, on.__name__ = name, f"{name}_pii"
    case(title, starts=False)(off)
    case(f"{title}, PII on", starts=False, send_default_pii=True)(on)


for _one in (flask, django, starlette, fastapi):
    with_and_without_pii(_one)


@case("httpx", starts=False)
def httpx() -> None:
    import httpx as library
    from sentry_sdk.integrations.httpx import HttpxIntegration

    start(integrations=[HttpxIntegration()])

    async def fetch() -> None:
        async with library.AsyncClient() as client:
            await client.get(other("/async?page=2"))

    for _ in range(2):
        with sentry_sdk.start_transaction(name="fetching"):
            with library.Client() as client:
                client.get(other("/lesson"))
                pause()
                client.post(other("/status/500"), json=LESSON)
            asyncio.run(fetch())
        pause()


@case("aiohttp, client and server", starts=False)
def aiohttp() -> None:
    from aiohttp import ClientSession, web
    from sentry_sdk.integrations.aiohttp import AioHttpIntegration

    start(integrations=[AioHttpIntegration()])

    async def lesson(request: Any) -> Any:
        pause()
        sentry_sdk.capture_message(f"lesson {request.match_info['number']}")
        return web.json_response(LESSON)

    async def failing(_: Any) -> Any:
        fail()

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.get("/{number}", lesson), web.get("/a/fail", failing)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with ClientSession() as session:
            for path in ("/7", "/a/fail", "/missing/one"):
                with sentry_sdk.start_transaction(name=f"asking {path}"):
                    async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                        say(path=path, status=answer.status)
                    async with session.get(other("/lesson")):
                        pass
        await runner.cleanup()

    asyncio.run(run())


@case("SQLAlchemy", starts=False)
def sqlalchemy() -> None:
    from sentry_sdk.integrations.sqlalchemy import (
        SqlalchemyIntegration,
    )
    from sqlalchemy import create_engine, text

    start(integrations=[SqlalchemyIntegration()])
    engine = create_engine("sqlite://")
    for _ in range(2):
        asking = sentry_sdk.start_transaction(name="asking")
        with asking, engine.connect() as connection:
            rows = connection.execute(text("SELECT :one AS one"), {"one": 1}).all()
            pause()
            sentry_sdk.capture_message(f"{len(rows)} rows")
            try:
                connection.execute(text("SELECT * FROM missing JOIN b ON a.id = b.a"))
            except Exception:  # noqa: BLE001 - the library's
                sentry_sdk.capture_exception()
        pause()


@case("logging: events, breadcrumbs, logs", enable_logs=True)
def python_logging() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    logger = logging.getLogger("course")
    for number in range(2):
        logger.info("lesson %d", number, extra={"rows": 3})
        pause()
        logger.warning("slow")
        try:
            fail()
        except ValueError:
            logger.exception("failed")
        logger.critical("gone", stack_info=True)


@case("asyncio: tasks", starts=False)
def tasks() -> None:
    from sentry_sdk.integrations.asyncio import AsyncioIntegration

    async def work(number: int) -> None:
        pause()
        if number:
            fail()

    async def run() -> None:
        start(integrations=[AsyncioIntegration()])
        with sentry_sdk.start_transaction(name="tasks"):
            for number in range(2):
                try:
                    await asyncio.create_task(work(number), name=f"task {number}")
                except ValueError as error:
                    sentry_sdk.capture_exception(error)

    asyncio.run(run())


@case("Celery: caller, worker, failure", starts=False, needs="valkey")
def celery() -> None:
    queued()


@case("Celery, no rate", starts=False, needs="valkey", traces_sample_rate=None)
def celery_unset() -> None:
    queued()


def queued() -> None:
    from celery import Celery
    from celery.contrib.testing.worker import start_worker
    from sentry_sdk.integrations.celery import CeleryIntegration

    start(integrations=[CeleryIntegration()])
    url = os.environ["PARITY_BROKER"]
    app = Celery("lms", broker=url, backend=url)

    @app.task(name="lesson")
    def lesson(number: int) -> int:
        pause()
        sentry_sdk.capture_message(f"lesson {number}")
        return number

    @app.task(name="failing")
    def failing(_: int) -> None:
        fail()

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=60):
        for number in range(2):
            with sentry_sdk.start_transaction(name="ordering"):
                say(number=lesson.delay(number).get(timeout=60))
            say(failed=str(failing.delay(number).get(timeout=60, propagate=False)))
            pause()


@case("RQ: worker and caller", starts=False, needs="valkey")
def rq() -> None:
    from redis import Redis
    from rq import Queue, SimpleWorker
    from sentry_sdk.integrations.rq import RqIntegration

    start(integrations=[RqIntegration()])
    connection = Redis.from_url(os.environ["PARITY_BROKER"])
    queue = Queue("lessons", connection=connection)
    with sentry_sdk.start_transaction(name="ordering"):
        queue.enqueue("integrations.lesson", 1, job_id="one")
    queue.enqueue("program.fail", job_id="two")
    queue.enqueue("integrations.lesson", 3, job_id="three")
    SimpleWorker([queue], connection=connection, name="worker").work(
        burst=True, logging_level="CRITICAL"
    )


def lesson(number: int) -> int:
    pause()
    sentry_sdk.capture_message(f"lesson {number}")
    return number


@case("OTLP: spans of OpenTelemetry", starts=False, traces_sample_rate=None)
def otlp() -> None:
    from opentelemetry import trace
    from sentry_sdk.integrations.otlp import OTLPIntegration

    start(integrations=[OTLPIntegration()])
    tracer = trace.get_tracer("lms")
    for number in range(2):
        with tracer.start_as_current_span(f"lesson {number}") as span:
            span.set_attribute("rows", 3)
            pause()
            with tracer.start_as_current_span("inner"):
                sentry_sdk.capture_message("in a span")


if __name__ == "__main__":
    main()
