"""The bundle has what it lists, and no secret, wherever one was planted."""

import json
import os
import resource
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from agent.cli.doctor import facts_of, facts_of_copy
from agent.doctor.bundle import PARTS, write_bundle
from agent.doctor.examine import examine
from agent.errors import AgentError
from agent.publish.volume import Volume
from agent.settings import load
from lab.paths import REPOSITORY
from resentry.contract import Receipt, Rule, Snapshot, encode_receipt

PLANTED = json.loads((REPOSITORY / "tests/data/planted-secrets.json").read_bytes())
NEEDLES = [each["needle"] for each in PLANTED["secrets"]]
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"


def texts(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        files = {m.name: opened.extractfile(m) for m in opened.getmembers()}
        return {n.partition("/")[2]: f.read().decode() for n, f in files.items() if f}


def planted_settings(directory: Path) -> dict[str, str]:
    """Plant in each setting that is a secret."""
    token = directory.parent / "token"
    token.write_text("hvs.CAESIJplantedVaultToken0123456789abcdefghijkl")
    return {
        "RESENTRY_DIR": str(directory),
        "RESENTRY_VAULT_ADDR": "https://vault.example.org",
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        "RESENTRY_VAULT_TOKEN": NEEDLES[4],
        "RESENTRY_NOTIFY_URLS": "https://hook.example.org/a",
        "RESENTRY_NOTIFY_HEADERS": f"Authorization: Bearer {NEEDLES[3]}",
        "RESENTRY_ENVIRONMENT": "production",
    }


def test_nothing_planted_is_in_the_bundle(
    tmp_path: Path, directory: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In settings, at the source, in receipts, in the last pass, in the environment."""
    for number, needle in enumerate(NEEDLES):
        monkeypatch.setenv(f"PLANTED_{number}", needle)
    snapshot = Snapshot({"SENTRY_DSN": DSN, "SENTRY_ENVIRONMENT": "production"})
    volume.publish(snapshot)
    receipt = Receipt(
        id="5bd28ef02add94de",
        role="api",
        pid=os.getpid(),
        pidns=1,
        start_time=2,
        error=f"failed with {DSN} and hvs.CAESIJplantedVaultToken0123456789abcdefghijkl",
        problems=(f"a token {NEEDLES[4]} and Bearer {NEEDLES[3]}",),
    )
    (directory / "receipts" / f"{receipt.id}.json").write_bytes(encode_receipt(receipt))
    (directory / "receipts" / f"{receipt.id}.lock").touch()
    (directory / "agent" / "state.json").write_text(
        json.dumps({"outcome": "failed", "sentence": f"{KEY} {NEEDLES[4]} {DSN}"})
    )
    facts = facts_of(load({}, planted_settings(directory)), offline=True)
    listed = write_bundle(str(tmp_path / "b.tgz"), facts, examine(facts))
    found = texts(tmp_path / "b.tgz")
    assert found.keys() == {part.name for part in PARTS}
    assert [line.split()[0] for line in listed] == [*found]
    assert "production" in found["snapshots.json"]
    whole = "".join(found.values())
    assert [secret for secret in (*NEEDLES, KEY) if secret in whole] == []
    assert os.stat(tmp_path / "b.tgz").st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path, directory: Path) -> None:
    """The error says what to do."""
    (tmp_path / "b.tgz").write_text("mine")
    facts = facts_of(load({}, planted_settings(directory)), offline=True)
    with pytest.raises(AgentError, match="cannot write the bundle"):
        write_bundle(str(tmp_path / "b.tgz"), facts, [])
    assert (tmp_path / "b.tgz").read_text() == "mine"


def test_what_the_writer_of_the_secret_wrote_is_masked(
    tmp_path: Path, directory: Path, volume: Volume
) -> None:
    """It may quote a request with a secret in it."""
    rule = Rule("GET /x?api_key=RuleSecretAB", 0.1)
    volume.publish(Snapshot({"SENTRY_DSN": DSN}, rules=(rule,)))
    facts = facts_of(load({}, planted_settings(directory)), offline=True)
    write_bundle(str(tmp_path / "b.tgz"), facts, examine(facts))
    shown = texts(tmp_path / "b.tgz")
    assert "GET /x?api_key=" in shown["snapshots.json"]
    assert "RuleSecretAB" not in "".join(shown.values())


def test_odd_files_on_the_volume_are_listed(
    tmp_path: Path, directory: Path, volume: Volume
) -> None:
    """A name that is no text, and a time that no calendar has."""
    odd = os.fsencode(directory / "receipts") + b"/\xff\xfe"
    with open(odd, "wb"):
        os.utime(odd, (2**40, 2**40))
    facts = facts_of_copy(load({}, planted_settings(directory)), volume.directory)
    assert facts.now <= time.time()
    write_bundle(str(tmp_path / "b.tgz"), facts, examine(facts))
    listed = json.loads(texts(tmp_path / "b.tgz")["volume.json"])
    (file,) = [each for each in listed if each["path"].endswith("\\udcff\\udcfe")]
    assert file["changed_at"]


def test_no_part_of_a_bundle_is_left(tmp_path: Path, directory: Path) -> None:
    """The disk is full: nobody takes a broken archive for a bundle."""
    facts = facts_of(load({}, planted_settings(directory)), offline=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(AgentError, match="cannot write the bundle"):
            write_bundle(str(tmp_path / "b.tgz"), facts, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "b.tgz").exists()


def test_each_part_is_json(tmp_path: Path, directory: Path) -> None:
    """Also of a volume where nothing is."""
    facts = facts_of(load({}, planted_settings(directory)), offline=True)
    write_bundle(str(tmp_path / "b.tgz"), facts, examine(facts))
    parts: dict[str, Any] = {
        n: json.loads(t) for n, t in texts(tmp_path / "b.tgz").items()
    }
    assert parts["settings.json"]["vault_token"] == "set"
    assert parts["about.json"]["files"].keys() == parts.keys()
