"""A file or a directory that something else mounts: what is read, refused and told."""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.confirm.watch import watch_receipts
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import (
    AgentError,
    CandidateRefused,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.settings import Settings
from agent.source import files, watch
from agent.source.files import LEFTOVERS, UNWATCHED, FileSource
from lab.mount import Mount
from lab.process import eventually

DSN = "https://0123456789abcdefplanted@sentry.example/1"
Open = Callable[..., FileSource]


@pytest.fixture
def open_source(settings: Callable[..., Settings]) -> Iterator[Open]:
    """Open a path as a source, with a short wait between the two reads."""
    with contextlib.ExitStack() as stack:

        def make(path: Path, settle: float = 0.02) -> FileSource:
            given = {"source_path": str(path), "vault_addr": "", "vault_paths": ()}
            source = FileSource(settings(**given), settle)
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "secret")


class Told:
    """Counts how often a source says that it has changed."""

    times = 0

    def __call__(self) -> None:
        self.times += 1

    def wait(self, times: int) -> None:
        eventually(lambda: self.times >= times, 5, f"call {times}")


def test_a_mounted_secret(open_source: Open, mount: Mount) -> None:
    """Names are keys, one newline at the end goes, and each key says where it stands."""
    mount.write(SENTRY_DSN=f"{DSN}\n", SENTRY_TRACES_SAMPLE_RATE="0.1\n\n")

    candidate = open_source(mount.directory).read()

    assert candidate.values == {"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": "0.1\n"}
    path = f"{mount.directory}/SENTRY_DSN"
    assert candidate.provenance["SENTRY_DSN"] == {"source": "file", "path": path}
    assert candidate.notes == ()


def test_what_is_no_key_of_ours_is_counted_and_never_opened(
    open_source: Open, mount: Mount, tmp_path: Path
) -> None:
    """A keystore beside the keys, or a FIFO of that name, changes nothing."""
    mount.write(SENTRY_DSN=DSN, keystore=b"\xff\xfe")
    assert open_source(mount.directory).read().values == {
        "SENTRY_DSN": DSN,
        "keystore": "",
    }
    plain = tmp_path / "plain"
    plain.mkdir()
    os.mkfifo(plain / "fifo")
    (plain / "lost+found").mkdir()
    (plain / "..hidden").write_text("")
    (plain / "SENTRY_DSN").write_text(DSN)
    assert open_source(plain).read().values == {
        "SENTRY_DSN": DSN,
        "fifo": "",
        "lost+found": "",
    }


@pytest.mark.parametrize(
    "leftover", ["file", "directory", "link", "fifo", "unreadable"]
)
@pytest.mark.parametrize(
    "name",
    ["SENTRY_DSN.bak", "SENTRY_DSN.tmp", "SENTRY_DSN~", "SENTRY_DSN.#1", "\udcff"],
)
def test_a_writer_s_leftover_beside_a_key_stops_no_rotation(
    open_source: Open, tmp_path: Path, name: str, leftover: str
) -> None:
    """It is no key, so it is neither read nor refused; a note tells of it."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    path = (
        tmp_path / f"SENTRY_DSN{name}"
        if name.isascii()
        else tmp_path / f"SENTRY_{name}"
    )
    match leftover:
        case "file":
            path.write_bytes(b"\xff" * 2**21)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case "unreadable":
            path.write_text("x")
            path.chmod(0)
    candidate = open_source(tmp_path).read()
    assert candidate.values == {"SENTRY_DSN": DSN}
    assert candidate.notes == (LEFTOVERS,)


def test_a_directory_that_is_no_key_is_a_leftover(
    open_source: Open, tmp_path: Path
) -> None:
    """A known key that is a directory is an error; it can be nothing else."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    (tmp_path / "SENTRY_OLD").mkdir()
    source = open_source(tmp_path)
    assert source.read().values == {"SENTRY_DSN": DSN}
    (tmp_path / "SENTRY_RELEASE").mkdir()
    with pytest.raises(SourceMissing, match="SENTRY_RELEASE"):
        source.read()


def test_files_of_others_may_come_and_go_while_keys_are_read(
    open_source: Open, tmp_path: Path
) -> None:
    """A program that keeps temporary files there does not keep the agent waiting."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    source, real, reads = open_source(tmp_path), files.read_directory, []

    def reading(path: str, setting: str) -> object:
        (tmp_path / f"tmp{len(reads)}").write_text("")
        (tmp_path / f"SENTRY_DSN.{len(reads)}.tmp").write_text("")
        reads.append(path)
        return real(path, setting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "read_directory", reading)
        assert source.read().values["SENTRY_DSN"] == DSN
    assert len(reads) == 2


def test_any_number_of_other_files_is_allowed(
    open_source: Open, tmp_path: Path
) -> None:
    """The limit is one of keys."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    for number in range(1500):
        (tmp_path / f"SENTRY_DSN.{number}").touch()
        (tmp_path / f"k{number}").touch()
    assert open_source(tmp_path).read().values["SENTRY_DSN"] == DSN


@pytest.mark.parametrize(
    "name", ["sentry_dsn", "SENTRY_DSN ", "SENTRY-DSN", "SENTRY_DNS"]
)
def test_a_mistyped_key_is_no_leftover(
    open_source: Open, tmp_path: Path, name: str
) -> None:
    """It is refused by its name, as in any other source."""
    (tmp_path / name).write_text(DSN)
    candidate = open_source(tmp_path).read()
    assert name in candidate.values
    with pytest.raises(CandidateRefused, match="SENTRY_D"):
        validate(candidate, GuardRails(), None, 0.0)


@pytest.mark.process
def test_no_mixture_of_two_generations(
    open_source: Open, mount: Mount, tmp_path: Path
) -> None:
    """Every read holds one generation, while generations are replaced without a pause."""
    keys = [f"SENTRY_{number}" for number in range(20)]
    mount.write(**dict.fromkeys(keys, "0"))
    stop = tmp_path / "stop"
    script = (
        "import sys; from pathlib import Path; from lab.mount import Mount\n"
        "mount = Mount(Path(sys.argv[1]))\n"
        "number = 0\n"
        "while not Path(sys.argv[2]).exists():\n"
        "    number += 1\n"
        "    mount.write(**dict.fromkeys(sys.argv[3:], str(number)))\n"
    )
    command = [sys.executable, "-c", script, str(mount.directory), str(stop), *keys]
    source = open_source(mount.directory)
    seen = set()
    with subprocess.Popen(command) as writer:
        try:
            deadline = time.monotonic() + 30
            while len(seen) < 200 and time.monotonic() < deadline:
                with contextlib.suppress(SourceDown):
                    values = source.read().values
                    assert list(values) == sorted(keys)
                    assert len(set(values.values())) == 1
                    seen.add(values["SENTRY_0"])
        finally:
            stop.touch()
            writer.wait(10)
    assert len(seen) >= 200


def test_a_generation_that_goes_while_it_is_read_is_read_anew(
    open_source: Open, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being removed looks like a Secret that holds fewer keys, or none."""
    mount.write(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE="0")
    listdir = os.listdir

    def replaced(handle: int) -> list[str]:
        monkeypatch.undo()
        mount.write(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE="1")
        return listdir(handle)

    monkeypatch.setattr(os, "listdir", replaced)

    values = open_source(mount.directory).read().values

    assert values == {"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": "1"}


@pytest.mark.slow
def test_files_that_change_one_by_one_are_taken_when_two_reads_agree(
    open_source: Open, tmp_path: Path
) -> None:
    """A plain directory, or a file written in place, is never taken half changed."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    source = open_source(tmp_path, settle=0.5)
    meanwhile = threading.Timer(0.1, (tmp_path / "SENTRY_SAMPLE_RATE").write_text, "1")
    meanwhile.start()

    with pytest.raises(SourceDown, match="was changing while it was read"):
        source.read()

    assert len(source.read().values) == 2
    began = time.monotonic()
    source.read()  # unchanged: no second read
    assert time.monotonic() - began < 0.4


def test_a_pass_that_is_over_time_does_not_wait_for_the_second_read(
    open_source: Open, tmp_path: Path
) -> None:
    """The deadline ends the wait, and so does the end of the agent."""
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    source = open_source(tmp_path, settle=60)
    with pytest.raises(SourceDown, match="in the time that a pass may take"):
        source.read(time.monotonic() + 0.1)
    threading.Timer(0.1, source.abort).start()
    with pytest.raises(SourceDown, match="in the time that a pass may take"):
        source.read()


def test_a_file_that_is_a_link_into_a_mounted_secret_is_whole(
    open_source: Open, mount: Mount
) -> None:
    """It is replaced as a whole, so one read is enough."""
    mount.write(**{"settings.json": f'{{"SENTRY_DSN": "{DSN}"}}'})

    source = open_source(mount.directory / "settings.json", settle=60)

    assert source.read().values == {"SENTRY_DSN": DSN}


def test_json(open_source: Open, tmp_path: Path) -> None:
    """A file that begins with a brace is JSON; what is nested stays structured."""
    file = tmp_path / "settings"
    file.write_bytes(
        b'\xef\xbb\xbf \n{"SENTRY_SAMPLE_RATE": 0.5, '
        b'"RESENTRY_RULES": [{"match": "GET /health", "traces": 0}]}\n'
    )

    candidate = open_source(file).read()

    assert candidate.values == {
        "SENTRY_SAMPLE_RATE": 0.5,
        "RESENTRY_RULES": [{"match": "GET /health", "traces": 0}],
    }
    assert candidate.provenance["SENTRY_SAMPLE_RATE"]["path"] == str(file)


def _missing(_path: Path) -> None:
    """Nothing is there."""


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)
        made.bind(path.name)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _holding(**files: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        for name, body in files.items():
            (path / name).write_bytes(body)

    return make


def _file(body: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(body)

    return make


def _key_is_directory(path: Path) -> None:
    (path / "SENTRY_DSN").mkdir(parents=True)


def _key_is_fifo(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "SENTRY_DSN")


def _dangling(path: Path) -> None:
    path.mkdir()
    (path / "..data").symlink_to("..gone")


def _odd_name(path: Path) -> None:
    path.mkdir()
    with open(bytes(path) + b"/SENTRY_\xff\n", "wb") as file:
        file.write(b"\xff")


Case = tuple[Callable[[Path], None], type[AgentError], str]
CASES: dict[str, Case] = {
    "nothing": (_missing, SourceMissing, "cannot read {}: No such file or directory"),
    "a FIFO": (_fifo, SourceMissing, "cannot read {}: not a regular file"),
    "a socket": (_socket, SourceMissing, "cannot read {}: No such device or address"),
    "a link to itself": (_loop, SourceMissing, "cannot read {}: Too many levels"),
    "an empty directory": (_holding(), SourceMissing, "{} is empty"),
    "an empty file": (_file(b""), SourceMissing, "{} is empty"),
    "comments alone": (_file(b"# nothing\n"), SourceMissing, "{} is empty"),
    "an empty object": (_file(b"{}"), SourceMissing, "{} is empty"),
    "a directory for a key": (
        _key_is_directory,
        SourceMissing,
        "cannot read {}/SENTRY_DSN: Is a directory",
    ),
    "a FIFO for a key": (
        _key_is_fifo,
        SourceMissing,
        "cannot read {}/SENTRY_DSN: not a regular file",
    ),
    "..data to nowhere": (_dangling, SourceDown, "{} was changing while it was read"),
    "half an object": (
        _file(b'{"SENTRY_DSN": "plant'),
        SourceDown,
        "cannot read {}: it is not JSON",
    ),
    "no number": (_file(b'{"A": NaN}'), SourceDown, "cannot read {}: it is not JSON"),
    "half a character": (
        _file(b'{"A": "\\ud800"}'),
        SourceDown,
        "cannot read {}: it is not JSON",
    ),
    "too deep": (
        _file(b'{"A": ' + b"[" * 10**5),
        SourceDown,
        "cannot read {}: it is not JSON",
    ),
    "a name twice": (
        _file(b'{"RESENTRY_RULES": [{"match": "a", "match": "b", "traces": 1}]}'),
        SourceDown,
        "cannot read {}: it is not JSON, or has a name twice",
    ),
    "no dotenv": (
        _file(b"\nA=b\nplanted"),
        SourceDown,
        "cannot read {}: line 3 is not NAME=value",
    ),
    "no text": (_file(b"A=\xffplanted"), CandidateRefused, "{} is not UTF-8"),
    "no text for a key": (
        _holding(SENTRY_DSN=b"\xffplanted"),
        CandidateRefused,
        "{}/SENTRY_DSN is not UTF-8",
    ),
    "an odd name alone": (_odd_name, SourceMissing, "{} is empty"),
    "a large file": (
        _file(b"A=" + b"b" * 2**20),
        CandidateRefused,
        "the source is larger than 1 MiB, which is the limit (read up to {})",
    ),
    "large in all": (
        _holding(SENTRY_A=b"a" * 2**19, SENTRY_B=b"b" * (2**19 + 1)),
        CandidateRefused,
        "(read up to SENTRY_B)",
    ),
    "many files": (
        _holding(**{f"SENTRY_{number}": b"" for number in range(1001)}),
        CandidateRefused,
        "{} holds 1001 files; the limit is 1000",
    ),
    "many variables": (
        _file("".join(f"A{number}=\n" for number in range(1001)).encode()),
        CandidateRefused,
        "{} holds 1001 keys; the limit is 1000",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read(
    open_source: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Each is an error that says what to do next, names the place and quotes nothing."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "source"
    make, error, said = CASES[case]
    make(path)

    with pytest.raises(error) as caught:
        open_source(path).read()

    assert said.format(path) in caught.value.what
    assert "plant" not in f"{caught.value.what} {caught.value.hint}"


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be somebody who may not read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_must_not_be_read(open_source: Open) -> None:
    """A file that may not be read is denied; which, and to which user, is said."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        file = Path(folder, "SENTRY_DSN")
        file.write_text(DSN)
        file.chmod(0)
        source = open_source(Path(folder))
        with nobody(), pytest.raises(SourceDenied) as caught:
            source.read()
    assert caught.value.what == f"cannot read {file}: Permission denied"


@pytest.fixture
def no_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every event that counts told by itself."""
    monkeypatch.setattr(watch, "BURST_SECONDS", 0)


@pytest.mark.usefixtures("no_burst")
def test_a_change_of_a_mounted_secret_is_told_once(
    open_source: Open, mount: Mount
) -> None:
    """Of kubelet's steps one counts, the one that shows the new generation."""
    mount.write(SENTRY_DSN=DSN)
    source, told = open_source(mount.directory), Told()
    source.on_change(told)
    source.read()
    assert source.report()["watch"] == "inotify"

    for number in range(1, 5):
        mount.write(SENTRY_DSN=f"{DSN}{number}")
        told.wait(number)
        assert source.read().values == {"SENTRY_DSN": f"{DSN}{number}"}
        assert told.times == number


def test_a_burst_is_told_once(open_source: Open, tmp_path: Path) -> None:
    """Many files, written one by one, are not as many calls."""
    source, told = open_source(tmp_path), Told()
    (tmp_path / "SENTRY_DSN").write_text(DSN)
    source.on_change(told)
    source.read()

    for number in range(200):
        (tmp_path / f"key{number}").write_text("")
    told.wait(1)

    assert told.times < 20


@pytest.mark.usefixtures("no_burst")
def test_a_plain_directory_is_watched(open_source: Open, tmp_path: Path) -> None:
    """Writing in place, renaming and removing count; reading does not."""
    directory = tmp_path / "plain"
    directory.mkdir()
    (directory / "SENTRY_DSN").write_text(DSN)
    source, told = open_source(directory), Told()
    source.on_change(told)
    source.read()
    source.read()

    (directory / "SENTRY_DSN").write_text(DSN)
    told.wait(1)
    (tmp_path / "new").write_text("1")
    (tmp_path / "new").rename(directory / "SENTRY_SAMPLE_RATE")
    told.wait(2)
    (directory / "SENTRY_SAMPLE_RATE").unlink()
    told.wait(3)
    assert told.times == 3


@pytest.mark.usefixtures("no_burst")
def test_a_file_is_watched_through_its_directory(
    open_source: Open, tmp_path: Path
) -> None:
    """It is replaced by rename again and again; its neighbours do not count."""
    file, new = tmp_path / "sentry.env", tmp_path / "new"
    file.write_text(f"SENTRY_DSN={DSN}")
    source, told = open_source(file), Told()
    source.on_change(told)
    source.read()

    for number in range(1, 4):
        new.write_text(f"SENTRY_SAMPLE_RATE=0.{number}")
        new.rename(file)
        told.wait(number)
        assert source.read().values == {"SENTRY_SAMPLE_RATE": f"0.{number}"}
        assert told.times == number


def test_a_file_in_a_mounted_secret_is_watched(open_source: Open, mount: Mount) -> None:
    """It is a link: what changes is the link beside it."""
    mount.write(env="SENTRY_SAMPLE_RATE=0")
    source, told = open_source(mount.directory / "env"), Told()
    source.on_change(told)
    source.read()

    for number in range(1, 3):
        mount.write(env=f"SENTRY_SAMPLE_RATE={number}")
        told.wait(number)
        assert source.read().values == {"SENTRY_SAMPLE_RATE": f"{number}"}


def test_a_change_right_after_the_first_read_is_told(
    open_source: Open, mount: Mount
) -> None:
    """The watch begins before the read: nothing between them waits for a poll."""
    mount.write(SENTRY_DSN=DSN)
    source, told = open_source(mount.directory), Told()
    source.on_change(told)
    source.read()
    mount.write(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE="0.5")
    told.wait(1)


@pytest.mark.slow
def test_what_is_removed_and_made_anew_is_watched(
    open_source: Open, tmp_path: Path
) -> None:
    """A mount that comes late, goes, and comes again is told each time."""
    directory = tmp_path / "secret"
    source, told = open_source(directory), Told()
    source.on_change(told)
    with pytest.raises(SourceMissing, match="No such file"):
        source.read()
    for _ in range(2):
        before = told.times
        Mount(directory).write(SENTRY_DSN=DSN)
        told.wait(before + 1)
        assert source.read().values == {"SENTRY_DSN": DSN}
        before = told.times
        Mount(directory).write(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE="1")
        told.wait(before + 1)
        before = told.times
        for entry in list(directory.iterdir()):
            entry.unlink() if entry.is_symlink() else shutil.rmtree(entry)
        told.wait(before + 1)
        with pytest.raises(SourceMissing, match="is empty"):
            source.read()
        before = told.times
        directory.rmdir()
        told.wait(before + 1)
        with pytest.raises(SourceMissing, match="No such file"):
            source.read()


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Make the kernel refuse an inotify instance, as where all are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_inotify_the_poll_compares(
    open_source: Open, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said with every candidate, until a watch can be had again."""
    mount.write(SENTRY_DSN=DSN)
    source, told = open_source(mount.directory), Told()
    source.on_change(told)
    monkeypatch.setattr(watch, "watch", lambda *_: None)
    assert source.read().notes == (UNWATCHED,)
    monkeypatch.undo()
    with no_descriptor_left():
        assert not watch_receipts(str(mount.directory), told)
    assert source.report()["watch"] == "poll"
    assert source.read().notes == ()
    assert source.report()["watch"] == "inotify"
    before = told.times
    mount.write(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE="0.5")
    told.wait(before + 1)


def test_close_ends_the_watch(open_source: Open, mount: Mount) -> None:
    """The watch is given back, and its threads end."""
    mount.write(SENTRY_DSN=DSN)
    before = threading.active_count()
    source, told = open_source(mount.directory), Told()
    source.on_change(told)
    source.read()
    assert threading.active_count() > before

    source.close()

    eventually(lambda: threading.active_count() == before, 5, "the threads' end")
