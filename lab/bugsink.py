"""Bugsink, the real receiver of events with a page to look at.

It lives in an environment of its own, `.bugsink` in this repository, because it pins
what the product must not be pinned to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import requests

from lab.paths import REPOSITORY
from lab.process import Process, free_port

ENVIRONMENT = REPOSITORY / ".bugsink"
_COMMANDS = ENVIRONMENT / "bin"

# Read on every start, so BASE_URL may come from the environment of that start.
_SETTINGS = """
import os
BUGSINK["BASE_URL"] = os.environ.get("LAB_BUGSINK_URL", "http://127.0.0.1")
BUGSINK["PHONEHOME"] = False
BUGSINK["INGEST_STORE_BASE_DIR"] = "ingest"
BUGSINK["SINGLE_TEAM"] = False
BUGSINK.update({
    f"MAX_EVENTS_{scope}PER_{time}": 100_000_000
    for scope in ("", "PER_PROJECT_")
    for time in ("5_MINUTES", "HOUR", "MONTH")
})
"""
_PASSWORD = "lab"


class Bugsink:
    """A Bugsink of its own, at `url`; an event is stored once its delivery is answered.

    `login` is the (user, password) of its pages.
    """

    login = "admin", _PASSWORD

    def __init__(self) -> None:
        template = _template()
        self._folder = Path(tempfile.mkdtemp(prefix="lab-bugsink-"))
        shutil.copytree(template, self._folder, dirs_exist_ok=True)
        self.token = (self._folder / "token").read_text()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        listen = ["--bind", f"127.0.0.1:{self.port}", "--no-control-socket"]
        workers = ["--workers", "1", "--threads", "4"]
        self.process = Process(
            [_COMMANDS / "gunicorn", *listen, *workers, "bugsink.wsgi"],
            env=_environment(self._folder) | {"LAB_BUGSINK_URL": self.url},
            cwd=self._folder,
            log=self._folder / "log",
            ready=self._answers,
        )
        self._session = requests.Session()
        self._session.trust_env = False
        # Gunicorn does not end while a connection is kept.
        self._session.headers["Connection"] = "close"

    def __enter__(self) -> Self:
        try:
            self.process.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self.process.stop(within=2.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def project(self, name: str) -> str:
        """Make a project of that name; return its DSN."""
        team = self._ask("POST", "teams/", {"name": f"team of {name}"})
        made = self._ask("POST", "projects/", {"name": name, "team": team["id"]})
        return str(self._ask("GET", f"projects/{made['id']}/")["dsn"])

    def delete(self, name: str) -> None:
        """Delete a project on its page, as a person does: the API has no way to."""
        projects = self._ask("GET", "projects/")["results"]
        (found,) = (one["id"] for one in projects if one["name"] == name)
        user, password = self.login
        with requests.Session() as browser:
            browser.trust_env = False
            browser.headers.update({"Connection": "close", "Referer": self.url})
            for path, form in (
                ("accounts/login/", {"username": user, "password": password}),
                (f"projects/{found}/edit/", {"action": "delete"}),
            ):
                url = f"{self.url}/{path}"
                browser.get(url, timeout=10).raise_for_status()
                token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
                browser.post(url, form | token, timeout=10).raise_for_status()

    def events(self, name: str) -> list[dict[str, str]]:
        """Return `event_id`, `environment`, `release`, `message` of a project's events.

        In the order in which they were stored.
        """
        # The API lists events by issue, in pages; the database has them in one answer.
        database = f"file:{self._folder / 'db.sqlite3'}?mode=ro"
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(
                'SELECT event_id, environment, "release", calculated_value AS message'
                " FROM events_event JOIN projects_project AS project"
                " ON project.id = project_id WHERE project.name = ?"
                " ORDER BY project_digest_order",
                (name,),
            ).fetchall()
        return [dict(row) for row in rows]

    def issues(self, name: str) -> list[dict[str, Any]]:
        """Return the issues of a project, as the API lists them."""
        projects = self._ask("GET", "projects/")["results"]
        (found,) = (one["id"] for one in projects if one["name"] == name)
        return list(self._ask("GET", f"issues/?project={found}")["results"])

    def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None
    ) -> dict[str, Any]:
        response = self._session.request(
            method,
            f"{self.url}/api/canonical/0/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=10,
        )
        response.raise_for_status()
        return dict(response.json())

    def _answers(self) -> bool:
        try:
            return self._session.get(f"{self.url}/health/ready", timeout=5).ok
        except requests.RequestException:
            return False


def _template() -> Path:
    """Return a folder with a migrated database, made once per version and settings."""
    ready = ENVIRONMENT / ".ready"
    if not ready.exists():
        raise FileNotFoundError(
            "Bugsink's environment .bugsink is missing:"
            " `make test` or `make demo UI=1` builds it"
        )
    content = _version() + _SETTINGS
    template = ENVIRONMENT / f"lab-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if template.exists():
        return template
    made = Path(tempfile.mkdtemp(prefix="lab-", dir=ENVIRONMENT))
    try:
        _set_up(made)
        # Of two that make it at a time, one renames; the other's is as good.
        with contextlib.suppress(OSError):
            made.rename(template)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return template


def _version() -> str:
    found = sorted(ENVIRONMENT.glob("lib/python*/site-packages/bugsink-*.dist-info"))
    return found[-1].name if found else ""


def _set_up(folder: Path) -> None:
    create = ["--template=local", "--host", "127.0.0.1", "--port", "80"]
    _run(folder, "bugsink-create-conf", *create)
    with (folder / "bugsink_conf.py").open("a") as settings:
        settings.write(_SETTINGS)
    _run(folder, "bugsink-manage", "migrate")
    _run(folder, "bugsink-manage", "migrate", "snappea", "--database=snappea")
    user, _ = Bugsink.login
    name = ["--username", user, "--email", f"{user}@example.org"]
    _run(folder, "bugsink-manage", "createsuperuser", "--noinput", *name)
    printed = _run(folder, "bugsink-manage", "create_auth_token")
    (folder / "token").write_text(printed.split()[-1])


def _run(folder: Path, command: str, *args: str) -> str:
    done = subprocess.run(
        [_COMMANDS / command, *args],
        cwd=folder,
        env=_environment(folder) | {"DJANGO_SUPERUSER_PASSWORD": _PASSWORD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(_COMMANDS), os.defpath])
    return {"HOME": str(folder), "PATH": path, "PYTHONPATH": str(folder)}
