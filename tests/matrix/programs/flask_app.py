"""A Flask application: each request reports one event.

With MATRIX_SUBPROCESS it also runs a command; with MATRIX_SECONDS it takes that long.
"""

from __future__ import annotations

import os
import subprocess
import time

from captures import capture, start
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

start()
app = Flask(__name__)


@app.post("/event/<int:number>")
def event(number: int) -> ResponseReturnValue:
    if "MATRIX_SUBPROCESS" in os.environ:
        subprocess.run(["true"], check=True)
    time.sleep(float(os.environ.get("MATRIX_SECONDS", "0")))
    return jsonify(capture(number))
