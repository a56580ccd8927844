"""The command: help for each, JSON where something is printed, two lines of error."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from agent import errors
from agent.cli import COMMANDS, once
from agent.domain.outcome import Outcome
from agent.errors import AgentError
from agent.publish.volume import Volume
from agent.settings import GROUPS, Settings, flag, settings_of
from resentry.contract import Snapshot

pytestmark = pytest.mark.process


TOKEN = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"
GOOD = {
    "RESENTRY_VAULT_ADDR": "http://127.0.0.1:9",
    "RESENTRY_VAULT_PATHS": "secret/data/lms",
    "RESENTRY_VAULT_TOKEN": TOKEN,
}


WITH_ALL_SETTINGS = ("run", "once", "check")


@pytest.mark.parametrize("name", WITH_ALL_SETTINGS)
def test_the_help_shows_every_setting_in_its_group(command: Any, name: str) -> None:
    """Each group has a heading, each setting its value; no secret has a flag."""
    ran = command(name, "--help")
    assert ran.returncode == 0
    assert f"resentry-agent {name} " in ran.stdout
    sections = ran.stdout.split("\n\n")
    for group in GROUPS:
        (section,) = [part for part in sections if part.startswith(f"{group}:\n")]
        for setting in settings_of(Settings):
            shown = f"  {flag(setting.name)} " in section
            assert shown is (setting.group == group and not setting.is_secret)
    words = ran.stdout.split()
    for flags, value in [
        ("--poll-seconds", "SECONDS"),
        ("--vault-addr", "URL"),
        ("--vault-token-file", "FILE"),
        ("--http-listen", "HOST:PORT"),
        ("--rate-caps", "NAME=RATE"),
        ("--dsn-check", "[off|warn|enforce]"),
        ("--vault-trust-env", "/"),
        ("/", "--no-vault-trust-env"),
    ]:
        assert (flags, value) in list(pairwise(words))


@pytest.mark.parametrize(
    "name", sorted({*COMMANDS} - {*WITH_ALL_SETTINGS, "completion"})
)
def test_the_help_of_other_commands_fits_on_a_screen(command: Any, name: str) -> None:
    """It shows the command's own options, where the volume is, and one line on the rest."""
    ran = command(*name.split(), "--help")
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) <= 40
    for shown in ("--json", "--config", "--dir", "--receipts", "--control"):
        assert f"  {shown} " in ran.stdout
    assert "--vault-addr" not in ran.stdout
    assert "resentry-agent run --help" in ran.stdout
    given = ("--vault-addr", "http://127.0.0.1:9", "-h")
    assert command(*name.split(), *given).returncode == 0


@pytest.mark.parametrize(
    ("flags", "expected"), [("--no-vault-trust-env", 69), ("--vault-trust-env=1", 2)]
)
def test_a_boolean_is_a_flag_and_its_opposite(
    command: Any, flags: str, expected: int
) -> None:
    """The opposite wins over the variable, which would be wrong here."""
    ran = command("once", flags, **GOOD | {"RESENTRY_VAULT_TRUST_ENV": "perhaps"})
    assert ran.returncode == expected


def test_a_wrong_choice_names_the_choices(command: Any) -> None:
    """A value that is none of the choices is a mistake in usage."""
    ran = command("run", "--log-level", "loud")
    assert ran.returncode == 2
    assert "'debug', 'info', 'warning', 'error'" in ran.stderr


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("run", {}),
        ("run", GOOD | {"RESENTRY_VAULT_AUTH": "approle"}),
        ("run", GOOD | {"RESENTRY_HTTP_LISTEN": "nowhere"}),
        ("run", GOOD | {"RESENTRY_GROUP": "no-such-group"}),
        ("once", {}),
        ("check", GOOD),
        ("status", GOOD),
        ("wait", GOOD | {"--timeout": "0.1"}),
        ("refresh", GOOD),
        ("history", GOOD),
        ("rollback", GOOD),
        ("boost", GOOD | {"--list": ""}),
    ],
    ids=str,
)
def test_nothing_is_created(
    command: Any, tmp_path: Path, name: str, environ: dict[str, str]
) -> None:
    """Commands that read create nothing; `run` and `once` nothing on wrong settings."""
    given = [(key, value) for key, value in environ.items() if key.startswith("--")]
    args = [part for pair in given for part in pair if part]
    command(name, *args, **dict(environ.items() - given))
    assert os.listdir(tmp_path) == []


def test_the_command_itself_lists_its_commands(command: Any) -> None:
    """Help names each with one line; no command at all is a usage error."""
    ran = command("--help")
    assert ran.returncode == 0
    for name in COMMANDS:
        *groups, last = name.split()
        listed = command(*groups, "--help") if groups else ran
        assert f"  {last} " in listed.stdout
    assert command().returncode == 2


def test_a_group_names_its_commands(command: Any) -> None:
    """A word of two is a mistake in usage, as is one that is not there."""
    assert "  alerts  " in command("--help").stdout
    ran = command("alerts")
    assert (ran.returncode, "check" in ran.stderr) == (2, True)
    ran = command("alerts", "chekc", "rules.toml")
    assert (ran.returncode, "did you mean check?" in ran.stderr) == (2, True)
    ran = command("alerts", "check", "/nowhere.toml", "--json")
    document = json.loads(ran.stdout)
    assert (document["command"], ran.returncode) == ("alerts check", 78)


def test_the_version_is_printed(command: Any) -> None:
    """One line with name and version."""
    assert command("--version").stdout.startswith("resentry-agent, version 0.")


@pytest.mark.parametrize("name", ["once", "check", "status"])
def test_whatever_prints_has_json(command: Any, name: str) -> None:
    """One JSON object on standard output, and nothing else."""
    ran = command(name, "--json", **GOOD)
    assert isinstance(json.loads(ran.stdout), dict)
    assert TOKEN not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["run", "--vault-adr", "x"], "--vault-addr"),
        (["status", "--jsno"], "--json"),
        (["chek"], "did you mean check?"),
        (["rolback"], "did you mean rollback?"),
    ],
)
def test_a_mistake_in_usage_names_the_nearest(
    command: Any, args: list[str], meant: str
) -> None:
    """Exit code 2, and what was probably meant."""
    ran = command(*args)
    assert ran.returncode == 2
    assert meant in ran.stderr


@pytest.mark.parametrize("name", ["run", "once", "check"])
def test_wrong_settings_end_with_their_code(command: Any, name: str) -> None:
    """All of them in one line, what to do in a second one."""
    ran = command(
        name, **GOOD | {"RESENTRY_POLL_SECONDS": "soon", "RESENTRY_SIGNAL": "SIGHUP"}
    )
    assert ran.returncode == 78
    lines = ran.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("resentry-agent: ")
    assert "RESENTRY_POLL_SECONDS" in lines[0]
    assert "RESENTRY_SIGNAL" in lines[0]
    assert "run --help" in lines[1]
    assert "Traceback" not in ran.stderr


CLASSES = [
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, AgentError)
    if name != "RequestUnknown"  # only the agent itself raises it
]


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_is_two_lines_and_the_code_of_its_class(
    python: Any, name: str
) -> None:
    """What is wrong, what to do, and no traceback."""
    ran = python(Path(__file__).parent / "programs" / "fail.py", name)
    assert getattr(errors, name).exit_code == ran.returncode
    lines = ran.stderr.splitlines()
    assert lines[0] == "resentry-agent: what"
    assert len(lines) == 2
    assert lines[1].startswith("  ")


def test_a_vault_that_is_away_fails_one_pass(command: Any) -> None:
    """`once` ends with the code of the error, and says what stays."""
    ran = command("once", **GOOD)
    assert ran.returncode == 69
    assert "Vault does not answer at http://127.0.0.1:9" in ran.stderr
    assert "nothing is published" in ran.stderr
    assert TOKEN not in ran.stderr


def test_status_shows_the_pass_of_once(command: Any, tmp_path: Path) -> None:
    """Good or bad: `once` writes the state that the daemon writes, and keeps the rest."""
    source = tmp_path / "source"
    source.write_text("SENTRY_ENVIRONMENT=production\n")
    environ = {"RESENTRY_SOURCE_PATH": str(source)}
    assert command("once", **environ).returncode == 0
    state = tmp_path / "volume" / "agent" / "state.json"
    saved = json.loads(state.read_text()) | {
        "rejections": {"revisions": ["a" * 12], "dsns": []}
    }
    state.write_text(json.dumps(saved))
    printed = command("status", **environ).stdout
    assert re.search(
        r"(?m)^ +passes are good since .+; newest pass: published: published", printed
    )

    source.write_text("SENTRY_ENVIRONMENT=a/b\n")
    assert command("once", **environ).returncode == 65
    printed = command("status", **environ).stdout
    assert re.search(r"(?m)^!! +values +candidate .+ is refused: SENTRY_ENV", printed)
    assert "1 failed in a row; last read well: 2" in printed
    kept = json.loads(state.read_text())["rejections"]
    assert kept == saved["rejections"]


def test_once_does_not_wait_for_an_answer_that_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A DSN check's last answer may come while the pass before it ends: none follows."""
    parts, pipeline = MagicMock(), MagicMock()
    outcomes = [Outcome("refused", ""), Outcome("checking", "")]

    def publish(*_: object) -> Outcome:
        parts.gate.report.return_value = ("settled",)
        return outcomes.pop()

    parts.gate.report.return_value = ("asked",)
    parts.settings.pass_seconds = 1.0
    pipeline.publish = publish
    monkeypatch.setattr(once, "Pipeline", lambda _parts, **_: pipeline)
    monkeypatch.setattr(once.time, "sleep", Mock(side_effect=AssertionError("waits")))
    assert once._passes(parts)[0].kind == "refused"
    assert not outcomes


def test_an_unknown_variable_is_one_warning(command: Any) -> None:
    """It is said on standard error, and JSON stays JSON."""
    ran = command("status", "--json", RESENTRY_VAULT_ADR="x")
    assert "did you mean RESENTRY_VAULT_ADDR?" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    json.loads(ran.stdout)


def test_status_of_an_empty_machine_is_no(command: Any) -> None:
    """Nothing published is not confirmed: exit code 1, and a sentence."""
    ran = command("status")
    assert ran.returncode == 1
    assert "nothing is published" in ran.stdout


def test_status_reads_a_volume_whose_agent_is_dead(
    command: Any, tmp_path: Path
) -> None:
    """What is published and that nobody publishes is said without an agent."""
    directory = str(tmp_path / "volume")
    volume = Volume(directory, f"{directory}/receipts")
    volume.open()
    key = "c0ffee00c0ffee00c0ffee00c0ffee00"
    settings = {"SENTRY_DSN": f"https://{key}@sentry.example.org/42"}
    volume.publish(Snapshot(settings, revision="a" * 12))
    volume.close()
    ran = command("status", "--json")
    shown = json.loads(ran.stdout)["result"]
    assert (ran.returncode, shown["agent"]) == (1, "not running")
    assert shown["current"]["revision"] == "a" * 12
    assert shown["rollout"]["state"] == "waiting"
    text = command("status").stdout
    assert "revision aaaaaaaaaaaa, sequence 1" in text
    assert key not in ran.stdout + text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"], ids=repr)
def test_status_does_not_need_the_agent_s_own_state(
    command: Any, tmp_path: Path, body: bytes
) -> None:
    """A state file that is damaged is as good as none."""
    private = tmp_path / "volume" / "agent"
    private.mkdir(parents=True)
    (private / "state.json").write_bytes(body)
    ran = command("status", "--json")
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["result"]["source"]["outcome"] is None


def test_check_changes_nothing(command: Any, tmp_path: Path) -> None:
    """It says step by step what is good, and makes no directory."""
    ran = command("check", "--json", RESENTRY_HTTP_LISTEN="off", **GOOD)
    shown = json.loads(ran.stdout)
    assert (ran.returncode, shown["ok"]) == (69, False)
    assert shown["error"]["code"] == "SourceDown"
    results = {step["step"]: step["result"] for step in shown["result"]["steps"]}
    assert results == {
        "settings": "ok",
        "source": "problem",
        "rights": "skipped",
        "secret": "skipped",
        "values": "skipped",
        "volume": "ok",
        "listen": "ok",
        "receipts": "ok",
        "targets": "ok",
    }
    assert os.listdir(tmp_path) == []
