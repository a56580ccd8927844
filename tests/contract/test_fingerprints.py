"""docs/contract.md, "Fingerprints and versions": how a DSN is named without telling it."""

import subprocess

import pytest

from resentry.contract import fingerprint

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


def as_documented(host: str, port: str, path: str, project: str) -> str:
    """Return what the command of the page prints."""
    format_ = r"%s\n%s\n%s\n%s\n%s"
    script = f"printf '{format_}' \"$@\" | sha256sum | cut -c-12"
    command = ["sh", "-c", script, "sh", KEY, host, port, path, project]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.process
@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("sentry.example.com/42", ("sentry.example.com", "", "", "42")),
        ("sentry.example.com:9000/42", ("sentry.example.com", "9000", "", "42")),
        ("SENTRY.example.com/a/b/7", ("sentry.example.com", "", "/a/b", "7")),
    ],
)
def test_a_fingerprint_is_what_the_command_prints(
    rest: str, parts: tuple[str, str, str, str]
) -> None:
    """Anybody who has the DSN can find it in a receipt."""
    assert fingerprint(f"https://{KEY}@{rest}") == as_documented(*parts)


def test_neither_scheme_nor_its_own_port_counts() -> None:
    """The same project over http and https has one name."""
    same = {
        fingerprint(f"{scheme}://{KEY}@Sentry.example.com{port}/42")
        for scheme, port in [
            ("https", ""),
            ("https", ":443"),
            ("http", ""),
            ("http", ":80"),
        ]
    }
    assert len(same) == 1
    assert len(same.pop()) == 12


@pytest.mark.parametrize(
    "other",
    [
        f"https://{KEY[::-1]}@sentry.example.com/42",
        f"https://{KEY}@sentry.example.org/42",
        f"https://{KEY}@sentry.example.com:9000/42",
        f"https://{KEY}@sentry.example.com/sentry/42",
        f"https://{KEY}@sentry.example.com/43",
    ],
    ids=["key", "host", "port", "path", "project"],
)
def test_everything_else_counts(other: str) -> None:
    """Another key, host, port, path or project is another DSN."""
    assert fingerprint(other) != fingerprint(f"https://{KEY}@sentry.example.com/42")
