"""A secret that is pasted into the wrong setting is named by its kind, and never shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import AgentError, CandidateRefused, SettingsError
from agent.redact import is_path, is_plain_name, kind_of_secret, redact
from agent.settings import Settings, load, load_what_can_be, settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Setting

NEEDLE = "c0ffee00c0ffee00c0ffee00c0ffee00"
BODY = "CAESIJplantedVaultToken0123456789"
SECRETS = {
    "a DSN": f"https://{NEEDLE}@sentry.example.org/1",
    "a DSN without https://": f"{NEEDLE}@sentry.example.org/1",
    "a URL with a password": f"postgres://user:{BODY}/{BODY}@db.example.org/lms",
    "a PEM": f"-----BEGIN EC PRIVATE KEY-----\n{BODY}\n-----END EC PRIVATE KEY-----",
    "a JWT": f"eyJhbGciOiJSUzI1NiJ9.eyJ{BODY}.{BODY}",
    "a Vault token": f"hvs.{BODY}",
    "a Sentry token": f"sntrys_{BODY}",
    "a UUID": "0f6e9b1c-1111-4222-8333-c0ffee00c0ff",
    "the key of a DSN": NEEDLE,
}
NEEDLES = (NEEDLE, BODY, SECRETS["a UUID"])
PLAIN = [setting for setting in settings_of(Settings) if not setting.is_secret]


def shows(error: AgentError) -> bool:
    return any(
        needle in text
        for needle in NEEDLES
        for text in (error.what, error.hint, str(error), repr(error))
    )


@pytest.mark.parametrize("setting", PLAIN, ids=lambda setting: setting.name)
def test_a_secret_in_any_other_setting_is_refused_at_once(setting: Setting) -> None:
    """By variable and by flag; names alone may look like a UUID or a key."""
    name, takes = setting.name, setting.value
    variable = f"RESENTRY_{name.upper()}"
    forms = list(SECRETS.items())
    if setting.is_list:  # a PEM would be split
        forms += [(k, f"a/b,{s}") for k, s in SECRETS.items() if k != "a PEM"]
    for kind, text in forms:
        if takes in ("NAME", "ID") and kind in ("a UUID", "the key of a DSN"):
            load({}, {variable: text})
            continue
        for flags, environ in (({}, {variable: text}), ({name: text}, {})):
            with pytest.raises(SettingsError) as caught:
                load(flags, environ)
            assert kind in caught.value.what
            assert takes in caught.value.what
            assert not shows(caught.value)


@pytest.mark.parametrize("form", ["production={}", "*={},production=host/2"])
def test_a_dsn_in_the_list_of_allowed_dsns_is_not_shown(form: str) -> None:
    """The name of the setting invites it."""
    text = form.format(SECRETS["a DSN"])
    with pytest.raises(SettingsError, match="a DSN") as caught:
        load({}, {"RESENTRY_ALLOWED_DSNS": text})
    assert not shows(caught.value)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_place_of_the_settings_file_is_not_shown(kind: str) -> None:
    """Nor is it opened."""
    for flags, environ in (
        ({"config": SECRETS[kind]}, {}),
        ({}, {"RESENTRY_CONFIG": SECRETS[kind]}),
    ):
        with pytest.raises(SettingsError, match=kind) as caught:
            load(flags, environ)
        assert not shows(caught.value)


PATHS = [
    setting
    for setting in PLAIN
    if setting.value in ("FILE", "DIRECTORY")
    or setting.name in ("source_path", "vault_ca")
]


@pytest.mark.parametrize("setting", PATHS, ids=lambda setting: setting.name)
def test_a_password_in_place_of_a_path_is_not_shown(setting: Setting) -> None:
    """It has no form of its own, but it is no path either: the setting is named."""
    for text in ("hunter2", "hunter2/42", "~hunter2", "redis:hunter2"):
        with pytest.raises(SettingsError, match=r"must .* (path|~)") as caught:
            load({setting.name: text}, {})
        assert f"--{setting.name.replace('_', '-')}" in caught.value.what
        assert "hunter2" not in caught.value.what + caught.value.hint
        # An agent that starts nevertheless goes on without it.
        started = load_what_can_be({setting.name: text}, {}).settings
        assert getattr(started, setting.name) == setting.default


def test_a_password_in_place_of_the_settings_file_is_not_shown() -> None:
    """A file in the current directory may be named without ./, so it is looked for."""
    with pytest.raises(SettingsError, match="No such file") as caught:
        load({"config": "hunter2"}, {})
    assert "hunter2" not in caught.value.what + caught.value.hint


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://vault:8200", "https://vault:8200"),
        ("https://vault:8200/", "https://vault:8200"),
        ("http://[::1]:8200/hunter2", "http://[::1]:8200/…"),
        ("unix:///run/vault.sock", "unix:///run/vault.sock"),
        ("hunter2", "the address in RESENTRY_VAULT_ADDR"),
        ("https://vault?hunter2", "the address in RESENTRY_VAULT_ADDR"),
        ("ftp://hunter2/", "the address in RESENTRY_VAULT_ADDR"),
        ("", ""),
    ],
)
def test_of_an_address_scheme_host_and_port_are_shown(given: str, shown: str) -> None:
    """The path may be anything, and so may what is no address."""
    environ = {"RESENTRY_VAULT_ADDR": given, "RESENTRY_VAULT_PATHS": "a/b,hunter2"}
    settings = load_what_can_be({}, environ).settings
    assert settings.shown_addr == shown
    assert settings.shown_source == f"{shown} a/b".strip()


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_a_name_is_not_shown(kind: str, tmp_path: Path) -> None:
    """Of a variable, of a key of the settings' file, of a key or a role of the source."""
    for secret in (SECRETS[kind], f"x_{SECRETS[kind]}"):
        assert not is_plain_name(secret)
        variable = f"RESENTRY_{secret}"
        assert not shows(AgentError("; ".join(load({}, {variable: "1"}).warnings)))
        config = tmp_path / "agent.toml"
        config.write_text(f"'{secret}' = 1\n".replace("\n-", "-").replace("\nC", "C"))
        with pytest.raises(SettingsError) as wrong:
            load({"config": str(config)}, {})
        assert not shows(wrong.value)
        rule = {"match": "a", "traces": 1, secret: 1}
        values = {
            f"SENTRY_{secret}": "1",
            "RESENTRY_ROLES": {secret: 1, "api": {secret: 1}},
            "RESENTRY_RULES": [rule],
            "RESENTRY_BOOSTS": [rule],
        }
        with pytest.raises(CandidateRefused) as refused:
            validate(Candidate(values, {}), GuardRails(), None, 0.0)
        assert not shows(refused.value)


def test_a_name_without_a_secret_is_shown() -> None:
    """What was mistyped has to be found again."""
    for name in ("SENTRY_DNS", "SENTRY_TRACES_RATE_2", "sentry.dsn", "RESENTRY_RULE5"):
        assert is_plain_name(name)


@pytest.mark.parametrize("kind", list(SECRETS)[:7])
def test_an_error_holds_no_secret_whoever_made_it(kind: str) -> None:
    """So no terminal, status, state file or answer has to think of it."""
    text = f"cannot read {SECRETS[kind]}: no"
    assert not shows(AgentError(text, text))
    refused = CandidateRefused([text], "0" * 12)
    assert not shows(refused)
    assert not any(needle in refused.problems[0] for needle in NEEDLES)


@pytest.mark.parametrize("kind", list(SECRETS)[:7])
def test_a_log_line_holds_no_secret(kind: str) -> None:
    """In a value, in a name, in an exception."""
    secret = SECRETS[kind]
    shown = str(redact({"a": [secret], secret: 1, "b": ValueError(secret)}))
    assert not any(needle in shown for needle in NEEDLES)


@pytest.mark.parametrize(
    "text",
    [
        "secret/data/lms",
        "/var/lib/kubelet/pods/0f6e9b1c-1111-4222-8333-c0ffee00c0ff/volumes/x",
        "https://vault.example.com:8200",
        "production=sentry.example.org/1",
        "lms@1.4.2",
        "kv/data/users.something_rather_long_here",
        "sha256:" + "0" * 64,
    ],
)
def test_what_is_no_secret_is_not_taken_for_one(text: str) -> None:
    """Paths, addresses and names stay as they are."""
    assert kind_of_secret(text) == ""
    assert redact(text) == text


def test_only_what_begins_like_a_path_is_one() -> None:
    """A value without a leading slash may be the secret itself."""
    for path in ("/run/secrets/token", "./token", "../token"):
        assert is_path(path)
    for path in ("hunter2", "a/b", "", ".token", "~/token"):
        assert not is_path(path)


@pytest.mark.alone
@pytest.mark.parametrize(
    "unit",
    ["eyJ-", "eyJ.", "s.", "hvs.-", "-----BEGIN ", "http://", "://a:", "0@", "sntrys_"],
)
def test_a_long_text_is_masked_in_linear_time(unit: str) -> None:
    """A hostile text must not keep the agent busy: twice the text, twice the time."""
    texts = [unit * (size // len(unit)) for size in (100_000, 400_000)]
    seconds = []
    for text in texts:
        began = time.process_time()
        redact(text)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 10 * max(seconds[0], 0.02)
