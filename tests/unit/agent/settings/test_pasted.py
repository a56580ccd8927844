"""A secret that is pasted into the wrong setting is named by its kind, and never shown."""

from __future__ import annotations

import time

import pytest

from agent.errors import AgentError, CandidateRefused, SettingsError
from agent.redact import file_of, kind_of_secret, redact
from agent.settings import Settings, load, settings_of
from agent.source.choose import open_source

NEEDLE = "c0ffee00c0ffee00c0ffee00c0ffee00"
BODY = "CAESIJplantedVaultToken0123456789"
SECRETS = {
    "a DSN": f"https://{NEEDLE}@sentry.example.org/1",
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
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_any_other_setting_is_refused_at_once(
    setting: object, kind: str
) -> None:
    """By variable and by flag; names alone may look like a UUID or a key."""
    name = setting.name  # type: ignore[attr-defined]
    takes = setting.value  # type: ignore[attr-defined]
    may_be = takes in ("NAME", "ID") and kind in ("a UUID", "the key of a DSN")
    variable = f"RESENTRY_{name.upper()}"
    forms = [SECRETS[kind]]
    if setting.is_list and kind != "a PEM":  # type: ignore[attr-defined]
        forms.append(f"secret/data/lms,{SECRETS[kind]}")
    for text in forms:
        if may_be:
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


@pytest.mark.parametrize(
    "values",
    [
        {"vault_token_file": "hunter2", "vault_token": ""},
        {"vault_auth": "jwt", "vault_jwt_file": "hunter2"},
        {
            "vault_auth": "approle",
            "vault_role_id": "r",
            "vault_secret_id_file": "hunter2",
        },
        {
            "vault_auth": "userpass",
            "vault_username": "u",
            "vault_password_file": "hunter2",
        },
        {"vault_auth": "cert", "vault_client_cert": "hunter2"},
        {"vault_addr": "https://127.0.0.1:9", "vault_ca": "hunter2"},
        {
            "vault_addr": "https://127.0.0.1:9",
            "vault_client_cert": "/dev/null",
            "vault_client_key": "hunter2",
        },
    ],
    ids=lambda values: list(values)[-1],
)
def test_a_password_in_place_of_its_file_is_not_shown(values: dict[str, str]) -> None:
    """It has no form of its own, but it is no path either: the setting is named."""
    given = {
        "vault_addr": "http://127.0.0.1:9",
        "vault_paths": "secret/data/lms",
        "vault_token": "t",
        **values,
    }
    with pytest.raises(AgentError) as caught:
        open_source(load(given, {}).settings, "tests").read()
    assert "hunter2" not in caught.value.what + caught.value.hint
    assert "RESENTRY_VAULT_" in caught.value.what + caught.value.hint
    named = next(name for name, value in values.items() if value == "hunter2")
    assert f"RESENTRY_{named.upper()}" in caught.value.what


@pytest.mark.parametrize("kind", list(SECRETS)[:5])
def test_an_error_holds_no_secret_whoever_made_it(kind: str) -> None:
    """So no terminal, status, state file or answer has to think of it."""
    text = f"cannot read {SECRETS[kind]}: no"
    assert not shows(AgentError(text, text))
    refused = CandidateRefused([text], "0" * 12)
    assert not shows(refused)
    assert not any(needle in refused.problems[0] for needle in NEEDLES)


@pytest.mark.parametrize("kind", list(SECRETS)[:5])
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


def test_only_what_looks_like_a_path_is_shown_as_one() -> None:
    """A value without a leading slash may be the secret itself."""
    for path in ("/run/secrets/token", "./token", "../token"):
        assert file_of(path, "RESENTRY_X") == path
    for path in ("hunter2", "a/b", ""):
        assert file_of(path, "RESENTRY_X") == "the file that RESENTRY_X names"


@pytest.mark.alone
@pytest.mark.parametrize(
    "unit", ["eyJ-", "eyJ.", "s.", "hvs.-", "-----BEGIN ", "http://", "sntrys_"]
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
