"""What Vault's certificate is checked against, and what the agent shows of itself."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from agent.errors import SourceDown
from agent.settings import Settings
from agent.source.tls import Tls

Make = Callable[..., Tls]


@pytest.fixture
def tls(settings: Callable[..., Settings]) -> Make:
    def make(**values: Any) -> Tls:
        named = {f"vault_{name}": value for name, value in values.items()}
        return Tls(settings(**{name: str(value) for name, value in named.items()}))

    return make


def pem_of(authority: trustme.CA) -> bytes:
    return bytes(authority.cert_pem.bytes())


def trusted(tls: Tls) -> list[bytes]:
    """What the context of now trusts."""
    return sorted(tls.context().get_ca_certs(binary_form=True))


def der(*authorities: trustme.CA) -> list[bytes]:
    texts = [pem_of(each).decode() for each in authorities]
    return sorted(ssl.PEM_cert_to_DER_cert(text) for text in texts)


def test_an_authority_that_is_given_is_the_only_one(tls: Make, tmp_path: Path) -> None:
    """Neither public authorities nor those of the machine are trusted beside it."""
    ca, file = trustme.CA(), tmp_path / "ca.pem"
    file.write_bytes(pem_of(ca))
    assert trusted(tls(ca=file)) == der(ca)


def test_without_one_the_public_authorities_count(
    tls: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come with the agent: no variable of other programs adds one."""
    ca, file = trustme.CA(), tmp_path / "ca.pem"
    file.write_bytes(pem_of(ca))
    for name in (
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "VAULT_CACERT",
    ):
        monkeypatch.setenv(name, str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    found = trusted(tls())
    assert len(found) > 50
    assert der(ca)[0] not in found


def test_a_file_that_has_not_changed_is_not_read_again(
    tls: Make, tmp_path: Path
) -> None:
    """The context stays the same object, so the connection can be kept."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem_of(trustme.CA()))
    kept = tls(ca=file)
    assert kept.context() is kept.context()


@pytest.mark.parametrize("way", ["write", "rename"])
def test_a_new_authority_is_read(tls: Make, tmp_path: Path, way: str) -> None:
    """Written in place or renamed over; a bundle of old and new is trusted as a whole."""
    old, new, file = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    file.write_bytes(pem_of(old))
    kept = tls(ca=file)
    assert trusted(kept) == der(old)
    for content, expected in (
        (pem_of(old) + pem_of(new), der(old, new)),
        (pem_of(new), der(new)),
    ):
        target = file if way == "write" else tmp_path / "new"
        target.write_bytes(content)
        target.replace(file)
        assert trusted(kept) == expected


def test_a_directory_holds_several_authorities(tls: Make, tmp_path: Path) -> None:
    """Plain files, without the names that OpenSSL wants; one more is read as it comes."""
    first, second, third = trustme.CA(), trustme.CA(), trustme.CA()
    (tmp_path / "a.crt").write_bytes(pem_of(first))
    (tmp_path / "b.pem").write_bytes(pem_of(second))
    (tmp_path / ".hidden").write_bytes(b"not PEM")
    (tmp_path / "folder").mkdir()
    kept = tls(ca=tmp_path)
    assert trusted(kept) == der(first, second)
    (tmp_path / "c.pem").write_bytes(pem_of(third))
    assert trusted(kept) == der(first, second, third)
    (tmp_path / "a.crt").unlink()
    assert trusted(kept) == der(second, third)


@pytest.mark.parametrize("named", ["", "ca.crt"], ids=["directory", "file"])
def test_a_mounted_secret_changes_by_its_link(
    tls: Make, tmp_path: Path, named: str
) -> None:
    """As kubelet does it: the files are links through `..data`, which is replaced."""

    def mount(generation: str, ca: trustme.CA) -> None:
        folder = tmp_path / f"..{generation}"
        folder.mkdir()
        (folder / "ca.crt").write_bytes(pem_of(ca))
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    old, new = trustme.CA(), trustme.CA()
    mount("2026_1", old)
    (tmp_path / "ca.crt").symlink_to("..data/ca.crt")
    kept = tls(ca=tmp_path / named)
    assert trusted(kept) == der(old)
    mount("2026_2", new)
    assert trusted(kept) == der(new)


def broken(file: Path, how: str) -> None:
    whole = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "directory":
        file.unlink()
        file.mkdir()
    else:
        bodies = {
            "empty": b"",
            "half": whole[:300],
            "one and a half": whole + whole[:300],
        }
        file.write_bytes(bodies[how])


BROKEN = ["missing", "directory", "empty", "half", "one and a half"]


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_cannot_be_used_leaves_the_one_of_before(
    tls: Make, tmp_path: Path, how: str
) -> None:
    """What is wrong is said for as long as it is; the whole file is then taken."""
    old, new, file = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    file.write_bytes(pem_of(old))
    kept = tls(ca=file)
    before = kept.context()
    assert kept.problem == ""

    broken(file, how)
    for _ in range(2):
        assert kept.context() is before
        assert str(file) in kept.problem
        assert "the certificates read before still count" in kept.problem

    if how == "directory":
        file.rmdir()
    file.write_bytes(pem_of(new))
    assert trusted(kept) == der(new)
    assert kept.problem == ""


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_never_could_be_used_is_down(
    tls: Make, tmp_path: Path, how: str
) -> None:
    """File and settings are named; it may still come, so it is tried again soon."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem_of(trustme.CA()))
    broken(file, how)
    with pytest.raises(SourceDown) as caught:
        tls(ca=file).context()
    assert str(file) in caught.value.what
    assert "RESENTRY_VAULT_CA" in caught.value.hint


def test_a_file_without_the_right_to_read_is_named(
    tls: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though OpenSSL does not say which it was."""

    def refuse(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "ca.pem"
    file.touch()
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    with pytest.raises(SourceDown, match=f"cannot use {file}: Permission denied"):
        tls(ca=file).context()


def test_a_listed_authority_need_not_be_a_root(tls: Make, tmp_path: Path) -> None:
    """As for Vault's own command, an intermediate one is enough."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem_of(trustme.CA().create_child_ca()))
    flags = tls(ca=file).context().verify_flags
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN


@pytest.fixture
def client(tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    """Write a new client certificate and its key, always to the same files."""
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"

    def write() -> tuple[Path, Path]:
        issued = trustme.CA().issue_cert("lms")
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    return write


def test_a_client_certificate_is_read_anew(
    tls: Make, client: Callable[[], tuple[Path, Path]]
) -> None:
    """With a new context, so on a new connection."""
    certificate, key = client()
    kept = tls(client_cert=certificate, client_key=key)
    before = kept.context()
    assert kept.context() is before
    client()
    assert kept.context() is not before


def test_a_client_certificate_may_hold_its_key(
    tls: Make, client: Callable[[], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Then no other file is needed."""
    certificate, key = client()
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    assert tls(client_cert=both).context()
    with pytest.raises(SourceDown, match=f"cannot use {certificate}"):
        tls(client_cert=certificate).context()


def test_a_key_that_comes_later_leaves_the_pair_of_before(
    tls: Make, client: Callable[[], tuple[Path, Path]]
) -> None:
    """Between the two writes of a rotation nothing fails."""
    certificate, key = client()
    kept = tls(client_cert=certificate, client_key=key)
    before, old_key = kept.context(), key.read_bytes()
    client()
    new_key = key.read_bytes()
    key.write_bytes(old_key)
    assert kept.context() is before
    assert "the key belongs to another certificate" in kept.problem
    key.write_bytes(new_key)
    assert kept.context() is not before
    assert kept.problem == ""


def test_an_encrypted_key_is_refused(
    tls: Make, client: Callable[[], tuple[Path, Path]]
) -> None:
    """Nobody is asked for a password: there may be a terminal, and nobody at it."""
    certificate, key = client()
    plain = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
    )
    with pytest.raises(SourceDown, match="the file is not PEM, or is encrypted"):
        tls(client_cert=certificate, client_key=key).context()


def test_only_the_flag_turns_checking_off(tls: Make, tmp_path: Path) -> None:
    """The name and the chain are checked without it, neither with it."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem_of(trustme.CA()))
    found = {
        flag: tls(ca=file, insecure_skip_tls_verify=flag).context()
        for flag in ("false", "true")
    }
    assert (found["false"].verify_mode, found["false"].check_hostname) == (
        ssl.CERT_REQUIRED,
        True,
    )
    assert found["true"].verify_mode == ssl.CERT_NONE
