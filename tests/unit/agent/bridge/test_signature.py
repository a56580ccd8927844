"""Whether Sentry has signed a body."""

import os
from pathlib import Path

import pytest
import structlog

from agent.bridge.signature import has_form, secrets_of, sign
from agent.errors import SettingsError

BODY = b'{"action":"triggered","data":{"title":"\\u041e\\u0448\\u0438\\u0431\\u043a\\u0430"}}'


def test_the_bytes_of_the_body_are_signed_and_nothing_else() -> None:
    """As `hmac.new(secret, body, sha256)` of Python, which Sentry uses."""
    known = "1861ca28132da45f4d60e46f1af5d98cca6cf1f4a3e9e0eaea0ee2ba94f3cd74"
    signature = sign("secret", b"{}")
    assert has_form(signature.encode())
    assert len(known) == len(signature)
    secrets = secrets_of("", "secret")
    assert secrets.accept(signature.encode(), b"{}")
    assert not secrets.accept(signature.encode(), b"{ }")
    assert not secrets.accept(sign("Secret", b"{}").encode(), b"{}")


@pytest.mark.parametrize(
    "header",
    [b"", b"x", b"a" * 63, b"a" * 65, b"A" * 64, b"\xff" * 64, b"a" * 64 + b"\n"],
)
def test_what_is_no_signature_is_seen_before_the_body_is_read(header: bytes) -> None:
    """Sentry sends 64 of 0-9 and a-f."""
    assert not has_form(header)


def test_each_line_of_the_file_is_a_secret(tmp_path: Path) -> None:
    """So an old and a new secret count both, while one replaces the other."""
    file = tmp_path / "secret"
    file.write_text("old\n\n new \n")
    secrets = secrets_of(str(file), "of the variable")
    for good in ("old", "new"):
        assert secrets.accept(sign(good, BODY).encode(), BODY)
    assert not secrets.accept(sign("of the variable", BODY).encode(), BODY)


def test_a_replaced_file_is_read_without_a_restart(tmp_path: Path) -> None:
    """As when a mounted Secret changes."""
    file, new = tmp_path / "secret", tmp_path / "new"
    file.write_text("old")
    secrets = secrets_of(str(file), "")
    new.write_text("new")
    os.replace(new, file)
    assert secrets.accept(sign("new", BODY).encode(), BODY)
    assert not secrets.accept(sign("old", BODY).encode(), BODY)


def test_a_secret_that_was_taken_out_of_the_file_counts_no_more(tmp_path: Path) -> None:
    """Also if nobody signs with another secret in between: a thief would not."""
    file = tmp_path / "secret"
    file.write_text("leaked\nnew\n")
    secrets = secrets_of(str(file), "")
    assert secrets.accept(sign("leaked", BODY).encode(), BODY)
    file.write_text("new\n")
    assert not secrets.accept(sign("leaked", BODY).encode(), BODY)
    assert secrets.accept(sign("new", BODY).encode(), BODY)


def test_a_file_that_cannot_be_read_leaves_the_old_secrets(tmp_path: Path) -> None:
    """The log says so, once. It may be replaced at this moment."""
    file = tmp_path / "secret"
    file.write_text("old")
    secrets = secrets_of(str(file), "")
    file.unlink()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert secrets.accept(sign("old", BODY).encode(), BODY)
        file.write_text("new")
        assert not secrets.accept(sign("old", BODY).encode(), BODY)
    assert [line["log_level"] for line in lines] == ["warning", "info"]


def test_an_emptied_file_leaves_no_secret(tmp_path: Path) -> None:
    """The log says so: nothing is accepted in silence, and nothing refused."""
    file = tmp_path / "secret"
    file.write_text("old")
    secrets = secrets_of(str(file), "")
    file.write_text("\n")
    with structlog.testing.capture_logs() as lines:
        for secret in ("old", ""):
            assert not secrets.accept(sign(secret, BODY).encode(), BODY)
    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_no_secret_is_an_error(tmp_path: Path, text: str) -> None:
    """An empty secret would accept what anybody signs."""
    file = tmp_path / "secret"
    file.write_text(text)
    for path, given in ((str(file), ""), ("", text), (str(tmp_path / "absent"), "")):
        with pytest.raises(SettingsError, match=r"secret|cannot read"):
            secrets_of(path, given)
