"""Mistakes on the command line and in settings name the next step."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.cli import COMMANDS
from agent.doctor.examine import RULES

pytestmark = pytest.mark.process

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
VAULT = {
    "RESENTRY_VAULT_ADDR": "http://127.0.0.1:9",
    "RESENTRY_VAULT_PATHS": "secret/data/lms",
}


def test_missing_settings_are_the_ones_to_set(command: Any) -> None:
    """The hint holds no example of a setting that is there or is not needed."""
    ran = command("check", RESENTRY_VAULT_AUTH="kubernetes", **VAULT)
    assert ran.returncode == 78
    _, hint = ran.stdout.split("RESENTRY_VAULT_ROLE", 1)
    assert "RESENTRY_VAULT_ADDR" not in hint
    assert "RESENTRY_VAULT_TOKEN_FILE" not in hint
    assert "run --help" in hint
    assert "RESENTRY_SOURCE_PATH" not in hint
    assert "without Vault, set RESENTRY_SOURCE_PATH" in command("check").stdout
    assert "RESENTRY_VAULT_ADDR=https://vault:8200" in command("once").stderr


def test_a_misspelt_setting_stands_beside_the_one_that_is_missing(command: Any) -> None:
    """Also if another setting is wrong, and no command comes further than that."""
    misspelt = {"RESENTRY_VAULT_ADR": "http://127.0.0.1:9"}
    said = "did you mean RESENTRY_VAULT_ADDR?"
    checked = command("check", **misspelt)
    assert "missing: RESENTRY_VAULT_ADDR" in checked.stdout
    assert said in checked.stdout
    for name in ("check", "once"):
        wrong = command(name, RESENTRY_POLL_SECONDS="x", **misspelt)
        assert wrong.returncode == 78
        assert said in wrong.stderr


def test_an_argument_without_end_is_refused_in_words(command: Any) -> None:
    """It would not fit into a request, so nothing is sent, whether an agent runs or not."""
    long = "a" * 70_000
    for args in (["rollback", long], ["boost", "--end", long]):
        ran = command(*args)
        assert ran.returncode == 1
        assert "the request is larger than 64 KiB" in ran.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["check", "--vault-auth", KEY],
        ["check", f"--log-format={DSN}"],
        ["check", f"--{KEY}"],
        ["check", DSN],
        [KEY],
        [DSN, "--json"],
    ],
)
def test_an_error_of_usage_quotes_no_secret(command: Any, args: list[str]) -> None:
    """Whoever pasted it into the wrong place must not find it in a log as well."""
    ran = command(*args)
    assert ran.returncode == 2
    assert KEY not in ran.stderr + ran.stdout
    assert "…" in ran.stderr + ran.stdout


def test_check_lists_every_step_that_it_skips(command: Any) -> None:
    """The steps are the same whatever is missing."""
    ran = command("check", "--json", RESENTRY_HTTP_LISTEN="off")
    steps = json.loads(ran.stdout)["result"]["steps"]
    results = {step["step"]: step["result"] for step in steps}
    assert results == {
        "settings": "problem",
        "source": "skipped",
        "rights": "skipped",
        "secret": "skipped",
        "values": "skipped",
        "volume": "ok",
        "listen": "ok",
        "receipts": "ok",
        "targets": "ok",
    }


def test_one_key_is_a_key(command: Any, tmp_path: Path) -> None:
    """The plural is for more."""
    source = tmp_path / "source"
    source.write_text("SENTRY_SAMPLE_RATE=1\n")
    ran = command("check", RESENTRY_SOURCE_PATH=str(source), RESENTRY_HTTP_LISTEN="off")
    assert re.search("^ok +secret +1 key$", ran.stdout, re.MULTILINE)


def test_rules_are_listed_for_programs_as_well(command: Any) -> None:
    """With all that the runbook says; beside them there is no finding."""
    listed = json.loads(command("doctor", "--list", "--json").stdout)["result"]
    assert [rule["id"] for rule in listed["rules"]] == list(RULES)
    told = json.loads(command("doctor", "--explain", "rsn201", "--json").stdout)[
        "result"
    ]
    (rule,) = told["rules"]
    assert rule in listed["rules"]
    assert "keeps trying" in rule["text"]
    assert told["findings"] == listed["findings"] == []


@pytest.mark.parametrize("option", ["--json", "--config", "--dir"])
def test_an_option_before_the_command_belongs_after_it(
    command: Any, option: str
) -> None:
    """It is a known option, in the wrong place."""
    ran = command(option, "status")
    assert ran.returncode == 2
    said = ran.stderr + ran.stdout
    assert f"put {option} after the command" in said
    assert "did you mean" not in said.lower()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "No such file or directory"),
        ("", "Is a directory"),
        ("poll_seconds\n", "is not TOML: "),
    ],
    ids=["none", "directory", "no toml"],
)
def test_a_wrong_settings_file_names_its_setting(
    command: Any, tmp_path: Path, body: str | None, said: str
) -> None:
    """The path, what is wrong, and what names the file."""
    file = tmp_path / "bad.toml"
    if body == "":
        file.mkdir()
    elif body:
        file.write_text(body)
    ran = command("history", RESENTRY_CONFIG=str(file))
    assert ran.returncode == 78
    what, hint = ran.stderr.splitlines()
    assert str(file) in what
    assert said in what
    assert "--config" in hint
    assert "RESENTRY_CONFIG" in hint
    assert "TOML" in hint


@pytest.mark.parametrize("given", ["variable", "flag"])
def test_a_wrong_signal_is_named_once(command: Any, given: str) -> None:
    """By what set it."""
    if given == "flag":
        ran = command("history", "--signal", "SIGHUP")
        assert "--signal: must be SIGRTMIN+n, or off" in ran.stderr
    else:
        ran = command("history", RESENTRY_SIGNAL="SIGHUP")
        assert "RESENTRY_SIGNAL: must be SIGRTMIN+n, or off" in ran.stderr
    assert ran.returncode == 78


def test_the_help_is_whole_and_keeps_its_example(command: Any) -> None:
    """No line is cut off, and an example stands on a line of its own."""
    main = command("--help").stdout
    assert "..." not in main.replace("[ARGS]...", "")
    assert "mounted" in main
    assert {"check", "history"} < set(COMMANDS)
    (example,) = [
        line for line in command("boost", "--help").stdout.splitlines() if "1.0" in line
    ]
    assert example.strip() == (
        'resentry-agent boost --traces 1.0 --for 15m --match "POST /checkout"'
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--traces", "5", "--for", "1h"], "--traces must be a number from 0 to 1"),
        (["--traces", "abc", "--for", "1h"], "--traces must be a number from 0 to 1"),
        (["--traces", "1", "--for", "25h"], "at most one day (24h)"),
        (["--traces", "1", "--for", "0s"], "more than 0 s"),
        (["--traces", "1", "--for", "3d"], "--for must be"),
        (["--traces", "1", "--for", "1h", "--role", "a b"], "--role must be 1 to 64"),
        (["--traces", "1", "--for", "1h", "--match", "GET /{id}"], "--match names a"),
    ],
    ids=" ".join,
)
def test_a_boost_that_is_wrong_anyhow_is_a_mistake_in_usage(
    command: Any, args: list[str], said: str
) -> None:
    """No agent needs to run to say so: exit code 2."""
    ran = command("boost", *args)
    assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
