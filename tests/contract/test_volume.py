"""docs/contract.md, "The volume" and "The snapshot"."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from agent.domain.value import replace
from agent.errors import PublishError
from agent.publish.volume import KEEP_SECONDS, Volume
from resentry.contract import DEFAULT_DIR, Snapshot, revision_of

VARIABLES = {
    "SENTRY_DSN",
    "SENTRY_ENVIRONMENT",
    "SENTRY_RELEASE",
    "SENTRY_SAMPLE_RATE",
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
    "SENTRY_SEND_PII",
    "SENTRY_ENABLE_FOR_CELERY",
    "SENTRY_ENABLE_LOGS",
}
EMPTY_REVISION = "f6181921898a"
pytestmark = pytest.mark.usefixtures("published")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_volume_is_var_run_resentry_unless_set() -> None:
    """The default directory is the documented one."""
    assert DEFAULT_DIR == "/var/run/resentry"


def test_the_volume_holds_the_documented_names(directory: Path) -> None:
    """One snapshot, one dotenv file, one file per variable, and two directories."""
    visible = {name for name in os.listdir(directory) if not name.startswith("..")}
    assert visible == {"settings.json", "sentry.env", "receipts", "agent"} | VARIABLES


def test_all_files_change_together_behind_one_link(directory: Path) -> None:
    """Each visible file is a link through `..data`, which is a link to a directory."""
    target = os.readlink(directory / "..data")
    assert re.fullmatch(r"\.\.[^/]+\.[^/]+", target)
    for name in ("settings.json", "sentry.env", *VARIABLES):
        assert f"..data/{name}" == os.readlink(directory / name)


def test_files_have_mode_0640_and_directories_0750(directory: Path) -> None:
    """The group reads, nobody else; the agent's own directory is its alone."""
    data = directory / os.readlink(directory / "..data")
    assert {mode(path) for path in data.iterdir()} == {0o640}
    assert [mode(directory), mode(data)] == [0o750, 0o750]
    assert mode(directory / "agent") == 0o700
    assert mode(directory / "receipts") == 0o3770


def test_everything_belongs_to_the_group_of_the_volume(
    directory: Path, volume: Volume, snapshot: Snapshot
) -> None:
    """A volume with the setgid bit, as kubelet makes it, hands its group on."""
    if os.geteuid() == 0:
        os.chown(directory, -1, 4242)
        os.chmod(directory, 0o2770)
    volume.publish(replace(snapshot, revision="f" * 12))
    data = directory / os.readlink(directory / "..data")
    group = directory.stat().st_gid
    assert {group} == {path.stat().st_gid for path in (data, *data.iterdir())}


@pytest.mark.process
def test_no_value_needs_quoting(directory: Path) -> None:
    """`sh` and `docker --env-file` read the dotenv file as it is."""
    lines = (directory / "sentry.env").read_text().splitlines()
    shell = f"set -a; . {directory}/sentry.env; env"
    ran = subprocess.run(["sh", "-c", shell], capture_output=True, check=True, env={})
    sourced = {
        line for line in ran.stdout.decode().splitlines() if line.startswith("SENTRY_")
    }
    assert set(lines) == sourced
    assert {line.partition("=")[0] for line in lines} == VARIABLES


def test_each_file_of_a_variable_holds_its_bare_value(directory: Path) -> None:
    """As in a mounted Secret: no quotes, no newline."""
    values = dict(
        line.split("=", 1)
        for line in (directory / "sentry.env").read_text().splitlines()
    )
    for name, value in values.items():
        assert value == (directory / name).read_text()


def test_a_file_of_a_variable_that_is_no_longer_set_goes_away(
    directory: Path, volume: Volume, snapshot: Snapshot
) -> None:
    """The next publication removes the name."""
    rest = {k: v for k, v in snapshot.settings.items() if k != "SENTRY_RELEASE"}
    volume.publish(replace(snapshot, settings=rest, revision="f" * 12))
    assert not os.path.lexists(directory / "SENTRY_RELEASE")


def test_a_replaced_directory_stays_for_sixty_seconds(
    directory: Path, volume: Volume, snapshot: Snapshot
) -> None:
    """Whoever opened `..data` once reads on in the old set after the switch."""
    assert KEEP_SECONDS == 60
    old = os.open(directory / "..data", os.O_RDONLY | os.O_DIRECTORY)
    os.utime(old, (1, 1))
    volume.publish(replace(snapshot, settings={}, revision="f" * 12))
    with open(os.open("settings.json", os.O_RDONLY, dir_fd=old)) as file:
        assert json.load(file)["revision"] == snapshot.revision
    os.close(old)


def test_the_snapshot_has_the_documented_fields(
    directory: Path, published: Snapshot
) -> None:
    """Schema, name, number, time, content and provenance: typed, and no other."""
    document = json.loads((directory / "settings.json").read_bytes())
    assert document == {
        "schema": 1,
        "revision": published.revision,
        "sequence": 1,
        "published_at": published.published_at,
        "judged_by": "",
        "settings": dict(published.settings),
        "roles": {"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
        "rules": [{"match": "GET /health", "traces": 0.0}],
        "boosts": [
            {
                "id": "b1",
                "traces": 1.0,
                "until": "2026-11-24T06:15:00Z",
                "match": "POST /checkout",
                "role": "api",
            }
        ],
        "provenance": {
            name: {"source": "vault", "path": "secret/data/lms", "version": 7}
            for name in VARIABLES
        },
    }
    assert re.fullmatch(r"[0-9a-f]{12}", document["revision"])
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["published_at"]
    )


def test_the_revision_of_this_content_never_changes(snapshot: Snapshot) -> None:
    """An agent of another version must not publish equal content anew."""
    assert snapshot.revision == revision_of(snapshot)
    assert revision_of(Snapshot({})) == EMPTY_REVISION


def test_the_sequence_grows_by_one_with_every_snapshot(
    volume: Volume, snapshot: Snapshot
) -> None:
    """Also over an agent's end, and when an old content comes back."""
    numbers = [volume.publish(replace(snapshot, revision="f" * 12)).sequence]
    volume.close()
    volume.open()
    numbers.append(volume.publish(snapshot).sequence)
    assert numbers == [2, 3]


def test_what_is_not_the_agent_s_is_never_replaced(
    volume: Volume, directory: Path, snapshot: Snapshot
) -> None:
    """Publishing fails, and works again once it is gone."""
    before = volume.current()
    (directory / "sentry.env").unlink()
    (directory / "sentry.env").write_text("mine")
    with pytest.raises(PublishError, match="a file that is not the agent's"):
        volume.publish(snapshot)
    assert (directory / "sentry.env").read_text() == "mine"
    assert before == volume.current()
    (directory / "sentry.env").unlink()
    assert volume.publish(snapshot) == volume.current()
