"""The agent's own settings: flags over environment over a TOML file."""

import json
import signal
from pathlib import Path

import msgspec
import pytest

from agent.domain.guard_rails import AllowedDsn
from agent.domain.nearest import did_you_mean
from agent.errors import SettingsError
from agent.settings import GROUPS, SecretValue, Settings, flag, load, settings_of
from agent.settings.parse import Address

TOKEN = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"


def file_with(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("in_file", "in_environ", "in_flags", "expected"),
    [
        (None, None, None, 60.0),
        ("10", None, None, 10.0),
        ("10", "20", None, 20.0),
        ("10", "20", "30", 30.0),
        ("10", None, "30", 30.0),
        (None, " 20 ", None, 20.0),
    ],
)
def test_a_flag_stands_above_the_environment_above_the_file(
    tmp_path: Path,
    in_file: str | None,
    in_environ: str | None,
    in_flags: str | None,
    expected: float,
) -> None:
    """The first of the three that names a setting decides; else its default does."""
    environ = {}
    if in_file:
        environ["RESENTRY_CONFIG"] = file_with(tmp_path, f"poll_seconds = {in_file}")
    if in_environ:
        environ["RESENTRY_POLL_SECONDS"] = in_environ
    loaded = load({"poll_seconds": in_flags}, environ)
    assert expected == loaded.settings.poll_seconds
    assert loaded.warnings == ()


def test_a_flag_names_the_file_before_the_environment_does(tmp_path: Path) -> None:
    """`--config` stands above `RESENTRY_CONFIG`, like any flag."""
    path = file_with(tmp_path, 'environment = "qa"')
    loaded = load({"config": path}, {"RESENTRY_CONFIG": "/nowhere"})
    assert loaded.settings.environment == "qa"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "production"),
        ({"ENVIRONMENT": ""}, "production"),
        ({"ENVIRONMENT": "staging"}, "staging"),
        ({"ENVIRONMENT": "staging", "RESENTRY_ENVIRONMENT": "qa"}, "qa"),
    ],
)
def test_the_environment_falls_back_to_the_plain_variable(
    environ: dict[str, str], expected: str
) -> None:
    """`RESENTRY_ENVIRONMENT`, else `ENVIRONMENT`, else production."""
    assert expected == load({}, environ).settings.environment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" a, b ,, c ", ("a", "b", "c")),
        ("a b", ("a", "b")),
        ("", ()),
    ],
)
def test_several_paths_stand_in_one_variable(
    text: str, expected: tuple[str, ...]
) -> None:
    """Commas, spaces or both separate them."""
    found = load({}, {"RESENTRY_VAULT_PATHS": text}).settings.vault_paths
    assert expected == found


def test_several_paths_stand_in_a_toml_array_or_repeated_flags(tmp_path: Path) -> None:
    """Where a list can be written, it is."""
    path = file_with(tmp_path, 'vault_paths = ["a", "b"]')
    assert load({"config": path}, {}).settings.vault_paths == ("a", "b")
    assert load({"vault_paths": ("c", "d")}, {}).settings.vault_paths == ("c", "d")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vault_adress", " (did you mean vault_addr?)"),
        ("poll_second", " (did you mean poll_seconds?)"),
        ("zzzz", ""),
    ],
)
def test_an_unknown_key_of_the_file_is_an_error_that_names_the_nearest(
    tmp_path: Path, name: str, meant: str
) -> None:
    """A key that nobody reads is a mistake, and the error says which one."""
    path = file_with(tmp_path, f'{name} = "1"')
    with pytest.raises(SettingsError) as caught:
        load({"config": path}, {})
    assert f"{path}: unknown key {name}{meant}" == caught.value.what


def test_unknown_variables_are_one_warning() -> None:
    """Kubernetes injects some for a Service of that name, so they are no error."""
    loaded = load(
        {},
        {
            "RESENTRY_PORT": "tcp://10.0.0.1:80",
            "RESENTRY_VAULT_ADRR": "x",
            "RESENTRY_WAIT_SECONDS": "3",
            "OTHER": "x",
        },
    )
    assert len(loaded.warnings) == 1
    assert "RESENTRY_PORT" in loaded.warnings[0]
    assert (
        "RESENTRY_VAULT_ADRR (did you mean RESENTRY_VAULT_ADDR?)" in loaded.warnings[0]
    )
    assert "WAIT" not in loaded.warnings[0]
    assert "10.0.0.1" not in loaded.warnings[0]


@pytest.mark.parametrize("setting", ["DIR", "RECEIPTS", "CONTROL"])
@pytest.mark.parametrize("path", ["~", "~/volume", "~agent/volume"])
def test_a_path_with_a_tilde_is_refused(setting: str, path: str) -> None:
    """No shell has replaced it, and a directory with this name would be made."""
    with pytest.raises(SettingsError, match=rf"RESENTRY_{setting}: .*only a shell"):
        load({}, {f"RESENTRY_{setting}": path})
    assert load({}, {f"RESENTRY_{setting}": "./a~/b"})


def test_a_volume_without_a_name_is_refused() -> None:
    """Else the agent would write into the root directory."""
    with pytest.raises(SettingsError, match=r"RESENTRY_DIR: .*empty"):
        load({}, {"RESENTRY_DIR": ""})
    assert load({}, {"RESENTRY_RECEIPTS": ""}).settings.receipts == ""


@pytest.mark.parametrize("setting", ["DIR", "RECEIPTS", "CONTROL"])
def test_a_path_without_end_is_refused(setting: str) -> None:
    """No directory is made for it: the system would take only a part of it."""
    with pytest.raises(
        SettingsError, match=rf"RESENTRY_{setting}: .*at most 2000 bytes"
    ):
        load({}, {f"RESENTRY_{setting}": "/a" * 1001})


@pytest.mark.parametrize("service", ["RESENTRY", "RESENTRY_SINK", "RESENTRY_VAULT"])
def test_what_kubernetes_sets_for_a_service_is_no_warning(service: str) -> None:
    """A Service whose name begins with `resentry`, with two ports, one of them named."""
    environ = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "80",
        f"{service}_SERVICE_PORT_HTTP": "80",
        f"{service}_PORT": "tcp://10.0.0.1:80",
        **{
            f"{service}_PORT_{port}_TCP{end}": "x"
            for port in (80, 9000)
            for end in ("", "_PROTO", "_PORT", "_ADDR")
        },
    }
    assert load({}, environ).warnings == ()
    (warning,) = load({}, {**environ, "RESENTRY_VAULT_PORT_": "x"}).warnings
    assert warning.startswith("unknown variables: RESENTRY_VAULT_PORT_")
    del environ[f"{service}_SERVICE_HOST"]  # then it is somebody's mistake
    assert f"{service}_PORT" in load({}, environ).warnings[0]


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """An operator mends everything in one go."""
    path = file_with(tmp_path, 'colour = "blue"\nlog_level = "loud"')
    with pytest.raises(SettingsError) as caught:
        load(
            {"config": path, "poll_seconds": "soon"},
            {"RESENTRY_SIGNAL": "SIGTERM", "RESENTRY_PASS_SECONDS": "-1"},
        )
    for part in (
        "unknown key colour",
        f"log_level in {path}: ",
        "--poll-seconds: ",
        "RESENTRY_SIGNAL: ",
        "RESENTRY_PASS_SECONDS: ",
    ):
        assert part in caught.value.what
    assert caught.value.what.count("; ") == 4
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "value", ["0", "-1", "nan", "inf", "86401", "soon", "", "true"]
)
def test_seconds_are_more_than_none_and_at_most_a_day(value: str) -> None:
    """A poll of zero seconds would flood Vault."""
    with pytest.raises(SettingsError):
        load({}, {"RESENTRY_POLL_SECONDS": value})


@pytest.mark.parametrize(
    "body",
    [
        b"poll_seconds = ",
        b"\xff\xfe",
        b"[vault]\naddr = 1",
        b"poll_seconds = [1]",
        b"poll_seconds = " + b"9" * 5000,
        b"poll_seconds = " + b"9" * 4000,
        b"poll_seconds = " + b"[" * 60000,
        b"vault_paths = " + b"{a = " * 5000,
        b'source_path = "\\u0000"',
        b"dir = 2026-01-01",
        b"#" * (1024 * 1024 + 1),
    ],
    ids=lambda body: f"{body[:25]!r} of {len(body)}",
)
def test_a_file_that_cannot_be_used_is_a_settings_error(
    tmp_path: Path, body: bytes
) -> None:
    """Broken TOML, other bytes, unknown tables and wrong types name the file."""
    path = tmp_path / "agent.toml"
    path.write_bytes(body)
    with pytest.raises(SettingsError, match=r"agent\.toml"):
        load({"config": str(path)}, {})


def test_a_missing_file_is_a_settings_error(tmp_path: Path) -> None:
    """A file that was named and is not there is a mistake."""
    with pytest.raises(SettingsError, match="No such file"):
        load({"config": str(tmp_path / "none")}, {})


@pytest.mark.parametrize("value", ["SIGTERM", "10", "SIGRTMIN+99"])
def test_only_a_real_time_signal_can_be_set(value: str) -> None:
    """The one rule of the signal is kept at the edge."""
    with pytest.raises(SettingsError, match="SIGRTMIN"):
        load({}, {"RESENTRY_SIGNAL": value})


@pytest.mark.parametrize("holder", ["secret", "settings", "loaded"])
def test_a_secret_is_never_shown(holder: str) -> None:
    """Neither alone nor inside the settings does formatting show a secret."""
    loaded = load({}, {"RESENTRY_VAULT_TOKEN": TOKEN})
    secret = loaded.settings.vault_token
    assert secret.reveal() == TOKEN
    shown = {"secret": secret, "settings": loaded.settings, "loaded": loaded}[holder]
    for text in (repr(shown), str(shown), f"{shown}", f"{[shown]}"):
        assert TOKEN not in text
        assert "(set)" in text


def test_a_secret_is_in_no_json() -> None:
    """What cannot be encoded by accident cannot leak by accident."""
    with pytest.raises(TypeError) as caught:
        json.dumps({"token": SecretValue(TOKEN)})
    assert TOKEN not in str(caught.value)
    with pytest.raises((TypeError, NotImplementedError)) as caught:
        msgspec.json.encode(load({}, {"RESENTRY_VAULT_TOKEN": TOKEN}).settings)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("x", True)], ids=["none", "set"]
)
def test_a_secret_says_whether_it_is_set(value: str, *, expected: bool) -> None:
    """Presence is all that is shown."""
    assert expected is bool(SecretValue(value))
    assert ("(set)" if expected else "(none)") == repr(SecretValue(value))


def test_a_token_of_the_wrong_type_is_refused_without_a_quote(tmp_path: Path) -> None:
    """A number where a token should stand is an error that does not show it."""
    path = file_with(tmp_path, "vault_token = 20260101777")
    with pytest.raises(SettingsError) as caught:
        load({"config": path}, {})
    assert "20260101777" not in caught.value.what


def test_receipts_are_on_the_volume_unless_set() -> None:
    """The receipts' directory follows the volume's."""
    assert load({"dir": "/v"}, {}).settings.receipts_dir == "/v/receipts"
    both = {"dir": "/v", "receipts": "/r"}
    assert load(both, {}).settings.receipts_dir == "/r"


def test_every_setting_has_a_group_a_value_a_text_and_a_flag() -> None:
    """Documentation and command line are made from the settings themselves."""
    settings = list(settings_of(Settings))
    fields = set(Settings.__struct_fields__) - {"environment_place"}  # of `load` alone
    assert {setting.name for setting in settings} == fields
    for setting in settings:
        assert setting.group in GROUPS
        assert setting.value
        assert setting.text.endswith((".", ")")), setting.name
        assert flag(setting.name) == "--" + setting.name.replace("_", "-")


def test_no_annotation_of_a_setting_is_text() -> None:
    """Each start of the agent reads them all, and would compile each text."""
    annotated = [vars(each).get("__annotations__", {}) for each in Settings.__mro__]
    texts = [name for each in annotated for name in each if isinstance(each[name], str)]
    assert texts == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rate_caps", "production=0.5, *=1", {"production": 0.5, "*": 1.0}),
        ("min_targets", "api=2", {"api": 2}),
        ("allowed_dsns", "*=host/7", (AllowedDsn("*", "host", None, "7"),)),
        ("http_listen", "0.0.0.0:80", Address("0.0.0.0", 80)),
        ("http_listen", "[::1]:80", Address("::1", 80)),
        ("http_listen", "off", None),
        ("probes_listen", "", None),
        ("signal", "off", None),
        ("signal", "SIGRTMIN+3", signal.SIGRTMIN + 3),
    ],
)
def test_a_setting_is_read_once_to_its_type(
    name: str, text: str, expected: object
) -> None:
    """Whoever uses a setting gets the value, not its text."""
    assert getattr(load({name: text}, {}).settings, name) == expected


@pytest.mark.parametrize(
    "address", ["19464", "localhost", "127.0.0.1:", ":80", "127.0.0.1:99999", "a:b"]
)
def test_a_listen_address_has_host_and_port(address: str) -> None:
    """The error names the form, before anything is started."""
    with pytest.raises(SettingsError, match="must be HOST:PORT"):
        load({}, {"RESENTRY_HTTP_LISTEN": address})


@pytest.mark.parametrize(
    ("name", "value", "form"),
    [
        ("poll_seconds", "soon", "a number from 0.01 up to 86400"),
        ("start_jitter_seconds", "61", "a number from 0 up to 60"),
        ("boost_cap", "2", "a number from 0 up to 1"),
        ("vault_trust_env", "perhaps", "true or false (also 1/0, yes/no, on/off)"),
        ("vault_trust_env", 7, "true or false"),
        (
            "poll_seconds",
            "60s",
            "a number from 0.01 up to 86400, without a unit: write 60",
        ),
        (
            "poll_seconds",
            "1 m",
            "a number from 0.01 up to 86400, without a unit: write 60",
        ),
        (
            "poll_seconds",
            "500ms",
            "a number from 0.01 up to 86400, without a unit: write 0.5",
        ),
        (
            "poll_seconds",
            "0,5",
            "a number from 0.01 up to 86400, with a point: write 0.5",
        ),
        ("poll_seconds", " ", "a number from 0.01 up to 86400; it is empty"),
        ("poll_seconds", 10**4000, "a number from 0.01 up to 86400"),
        ("dsn_check", "enforced", "one of off, warn, enforce (did you mean enforce?)"),
        ("dir", "a\0b", "text in UTF-8, without control characters"),
        ("source_path", "a\ud800", "text in UTF-8, without control characters"),
        ("vault_paths", ("a\x1b[2J",), "text in UTF-8, without control characters"),
        ("vault_addr", 7, "a text"),
        ("vault_paths", 7, "a list of texts"),
    ],
)
def test_a_wrong_value_is_answered_with_its_form(
    name: str, value: object, form: str
) -> None:
    """In words, not in Python's types; a wrong value is not quoted."""
    with pytest.raises(SettingsError) as caught:
        load({name: value}, {})
    assert caught.value.what == f"{flag(name)}: must be {form}"


def test_headers_are_read_once_and_never_shown() -> None:
    """The headers of a notification may hold a secret."""
    settings = load({}, {"RESENTRY_NOTIFY_HEADERS": f"A: {TOKEN}"}).settings
    assert settings.notify_headers.headers == {"A": TOKEN}
    assert TOKEN not in repr(settings)


def test_a_flag_may_hold_several_entries() -> None:
    """A list in one flag is split as in a variable."""
    assert load({"vault_paths": ("a,b", "c")}, {}).settings.vault_paths == (
        "a",
        "b",
        "c",
    )


def test_the_nearest_name_is_suggested_or_none() -> None:
    """A suggestion is made only where one is near."""
    known = {"vault_addr": 1}
    assert did_you_mean("vault_adr", known) == " (did you mean vault_addr?)"
    assert did_you_mean("x", known) == ""
