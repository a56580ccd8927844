"""A Flask application: each request reports one event.

With MATRIX_SUBPROCESS it also runs a command, and another thread, which runs as often as
it can meanwhile, notes each child that it finds itself in. With MATRIX_SECONDS a request
takes that long. With MATRIX_PATCH it is gevent's from its first line on.
"""

from __future__ import annotations

import os

if "MATRIX_PATCH" in os.environ:
    from gevent import monkey

    monkey.patch_all()

import subprocess
import threading
import time

from captures import capture, note, start
from flask import Flask, Response, jsonify
from sentry_sdk.integrations.flask import FlaskIntegration

start("api", FlaskIntegration())
app = Flask(__name__)


def watch(own: int, ended: threading.Event) -> None:
    while not ended.is_set() and os.getpid() == own:
        time.sleep(0)
    if os.getpid() != own:
        note(".strays", str(os.getpid()))


def command() -> None:
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(os.getpid(), ended))
    watching.start()
    subprocess.run(["true"], check=True)
    ended.set()
    watching.join()


@app.post("/event/<int:number>")
def event(number: int) -> Response:
    if "MATRIX_SUBPROCESS" in os.environ:
        command()
    time.sleep(float(os.environ.get("MATRIX_SECONDS", "0")))
    return jsonify(capture(number))
