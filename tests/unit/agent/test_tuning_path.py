"""The tuning file in passes: a last good of its own, and neither holds up the other."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent import parts as assembling
from agent.daemon import Daemon
from agent.domain.value import replace
from agent.errors import SettingsError, SourceDown
from agent.pipeline import Pipeline
from agent.publish.memory import LAST_GOOD, TUNING
from agent.settings import Loaded, Settings, load_what_can_be
from agent.source.tuning import KeptTuning, TuningFile
from lab.mount import Mount
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.domain.outcome import Outcome
    from agent.parts import Parts

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/"


def values(project: int, **more: Any) -> dict[str, Any]:
    return {"SENTRY_DSN": f"{DSN}{project}", "SENTRY_TRACES_SAMPLE_RATE": "0.5", **more}


class Passes:
    """Does passes over a shelf and a mounted tuning file."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.pipeline = Pipeline(parts)

    def one(self) -> Outcome:
        until = time.monotonic() + 5
        return self.pipeline.publish(self.pipeline.read(until))

    @property
    def shown(self) -> tuple[str, float]:
        """The project and the trace rate that are published."""
        current = self.pipeline.known.current
        assert current is not None
        settings = current.settings
        return settings["SENTRY_DSN"][-1], settings["SENTRY_TRACES_SAMPLE_RATE"]

    @property
    def problem(self) -> str:
        (problem,) = self.parts.tuning.problems
        assert problem.setting == "RESENTRY_TUNING_PATH"
        return problem.what


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "tuning")


@pytest.fixture
def passes(
    parts: Callable[..., Parts], mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Passes]]:
    monkeypatch.setattr("agent.pipeline.GLANCE_SECONDS", 60.0)  # on a busy machine
    made: list[Parts] = []

    def make(**settings: Any) -> Passes:
        given = {"tuning_path": str(mount.directory), **settings}
        made.append(parts(**given))
        return Passes(made[-1])

    yield make
    for each in made:
        each.tuning.close()


def test_a_bad_file_holds_up_no_dsn(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """Its last good content stays; the problem names key and file, and quotes nothing."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1", SENTRY_SAMPLE_RATE="0.9")
    shelf.values = values(1)
    one = passes()
    assert one.one().kind == "published"
    assert one.shown == ("1", 0.1)
    assert one.one().notes == ()  # no key of the file is missed at the source

    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2", SENTRY_DSN=f"{DSN}9")
    shelf.values = values(2)
    outcome = one.one()
    assert outcome.kind == "published"
    assert outcome.notes == (one.problem,)  # `refresh` tells it
    assert one.shown == ("2", 0.1)
    assert one.problem == (
        f"the tuning file {mount.directory} is not in force: SENTRY_DSN must not stand in "
        "a tuning file; its last good content is in force"
    )
    assert one.parts.tuning.report()["state"] == "refused"

    began = one.parts.tuning.report()["since"]
    roles = '{"api": {"SENTRY_SAMPLE_RATE": 0.3}}'
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2", RESENTRY_ROLES=roles)
    assert one.one().kind == "published"
    assert one.shown == ("2", 0.2)
    report = one.parts.tuning.report()
    assert report["roles"] == {"api": ["SENTRY_SAMPLE_RATE"]}
    one.one()
    assert one.parts.tuning.report()["since"] == report["since"] > began
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.3")
    one.one()
    assert one.parts.tuning.report()["since"] > report["since"]
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2")
    one.one()
    assert one.parts.tuning.problems == ()

    mount.write()  # an empty directory, as of a ConfigMap that is optional
    one.one()
    assert one.shown == ("2", 0.5)
    assert one.parts.tuning.problems == ()


def test_an_absent_source_holds_up_no_tuning(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """Also over a restart: each has a last good of its own on the volume."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)
    passes().one()
    shelf.error = SourceDown("no Vault")
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2")

    two = passes()
    outcome = two.one()
    assert (outcome.kind, two.shown) == ("failed", ("1", 0.2))
    mount.write(SENTRY_TRACES_SAMPLE_RATE="x")
    three = passes()
    three.one()
    assert three.shown == ("1", 0.2)
    memory = three.parts.volume.memory
    of_source = memory.read_snapshot(LAST_GOOD)
    assert of_source is not None
    assert of_source.settings["SENTRY_TRACES_SAMPLE_RATE"] == 0.5
    kept = memory.read_snapshot(TUNING)
    assert kept is not None
    assert kept.settings == {"SENTRY_TRACES_SAMPLE_RATE": 0.2}

    # Without the setting the source alone counts.
    four = passes(tuning_path="")
    four.one()
    assert four.shown == ("1", 0.5)
    # Set again, the file that cannot be read brings nothing of long ago back.
    five = passes()
    five.one()
    assert five.shown == ("1", 0.5)
    assert five.problem.endswith("; nothing of it is in force")


def test_a_source_that_never_answered_holds_up_no_tuning(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """Applications wait for the source first. Then the tuning alone is published."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.error = SourceDown("no Vault")
    one = passes(startup_seconds=600)
    one.one()
    assert one.pipeline.known.current is None
    assert one.parts.tuning.report()["keys"] == ["SENTRY_TRACES_SAMPLE_RATE"]

    def published(passes: Passes) -> dict[str, Any]:
        assert passes.one().kind == "failed"
        current = passes.pipeline.known.current
        return dict(current.settings) if current is not None else {}

    two = passes(startup_seconds=0.01)
    wanted = {"SENTRY_TRACES_SAMPLE_RATE": 0.1}
    eventually(lambda: published(two) == wanted, what="the tuning alone")
    assert two.pipeline.known.current is not None
    assert two.pipeline.known.current.judged_by == "production"

    mount.write(SENTRY_SAMPLE_RATE="0.2")
    three = passes(startup_seconds=0.01)
    # Nothing of the first file is taken for the source.
    wanted = {"SENTRY_SAMPLE_RATE": 0.2}
    eventually(lambda: published(three) == wanted, what="the new tuning alone")
    shelf.error, shelf.values = None, values(1)
    assert three.one().kind == "published"
    assert three.shown == ("1", 0.5)


def test_a_file_that_is_gone_is_unknown_not_empty(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)
    one = passes(tuning_path=str(mount.directory.parent / "late"))
    one.one()
    assert one.shown == ("1", 0.5)
    assert "RESENTRY_TUNING_PATH" in one.parts.tuning.problems[0].hint
    os.rename(mount.directory, mount.directory.parent / "late")
    one.one()
    assert one.shown == ("1", 0.1)
    os.rename(mount.directory.parent / "late", mount.directory)
    one.one()
    assert one.shown == ("1", 0.1)
    assert one.problem.endswith("; its last good content is in force")
    assert one.parts.tuning.report()["state"] == "failed"


def test_the_guard_rails_hold_the_file_on_top_of_the_source(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """A new source whose environment forbids the last good tuning is not held up by it."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.4")
    shelf.values = values(1)
    rails = {
        "environment": "staging",
        "allowed_environments": ["test"],
        "rate_caps": ["staging=0.5", "test=0.2"],
    }
    one = passes(**rails)
    one.one()
    assert one.shown == ("1", 0.4)
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.6")
    one.one()
    assert one.shown == ("1", 0.4)
    assert "must be at most 0.5 in staging" in one.problem

    low = {"SENTRY_TRACES_SAMPLE_RATE": "0.1"}
    shelf.values = values(2, SENTRY_ENVIRONMENT="test", **low)
    assert one.one().kind == "published"
    assert one.shown == ("2", 0.1)
    assert one.problem.endswith("; nothing of it is in force")
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.15")
    one.one()
    assert one.shown == ("2", 0.15)


def test_a_mount_that_hangs_holds_up_no_dsn(
    passes: Callable[..., Passes],
    mount: Mount,
    shelf: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One pass waits for it, a little; no later pass does. It counts once it is read."""
    monkeypatch.setattr("agent.pipeline.GLANCE_SECONDS", 0.05)
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)
    one = passes()
    release = threading.Event()
    read: Any = one.parts.tuning._source.read  # type: ignore[attr-defined]

    def hang(until: float) -> Any:
        release.wait(60)
        return read(until)

    monkeypatch.setattr(one.parts.tuning._source, "read", hang)  # type: ignore[attr-defined]
    one.one()
    assert one.shown == ("1", 0.5)
    assert "its mount hangs" in one.problem
    waits: list[float] = []
    monkeypatch.setattr(
        threading.Thread, "join", lambda _, *given: waits.append(*given)
    )
    one.one()
    assert waits == []
    release.set()
    eventually(lambda: one.one() and one.shown == ("1", 0.1), what="the tuning")


def test_a_change_is_published_while_the_source_hangs(
    parts: Callable[..., Parts], mount: Mount, shelf: Any
) -> None:
    """The file is watched: no poll, and no answer of Vault, is needed."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)
    made = parts(
        tuning_path=str(mount.directory),
        poll_seconds=3600,
        http_listen="off",
        probes_listen="off",
    )
    one = Daemon(made, "1")
    thread = threading.Thread(target=one.run, name="main")
    thread.start()
    release, is_hanging = threading.Event(), threading.Event()
    try:

        def rate() -> float | None:
            current = one.view.known.current
            return current and current.settings["SENTRY_TRACES_SAMPLE_RATE"]

        eventually(lambda: rate() == 0.1, what="the first snapshot")
        assert one.view.tuning["watch"] == "inotify"

        def hang(_until: float) -> Any:
            is_hanging.set()
            release.wait(60)
            raise SourceDown("no answer")

        shelf.read = hang
        one.poll()
        assert is_hanging.wait(30)
        mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2")
        eventually(lambda: rate() == 0.2, what="the change")
        mount.write(SENTRY_SEND_PII="true")
        eventually(lambda: one.view.problems, what="the problem")
        assert one.view.problems[0].setting == "RESENTRY_TUNING_PATH"
        assert rate() == 0.2
        mount.write(SENTRY_TRACES_SAMPLE_RATE="0.3")
        eventually(lambda: rate() == 0.3 and not one.view.problems, what="the end")
    finally:
        release.set()
        one.stop()
        thread.join(10)
        made.tuning.close()
    assert not thread.is_alive()


def test_a_restart_is_no_change_of_the_file(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """Else what else has changed meanwhile, as the end of a boost, is put down to the file."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)

    told: list[str] = []

    def start(name: str) -> None:
        one = passes()
        one.parts.tuning.on_change(lambda: told.append(name))
        one.one()
        one.parts.tuning.close()

    start("one")
    eventually(lambda: told == ["one"], what="the first file")
    start("two")
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2")
    start("three")
    eventually(lambda: told == ["one", "three"], what="the change alone")


def test_a_rollback_undoes_a_tuning_until_it_is_corrected(
    passes: Callable[..., Passes], mount: Mount, shelf: Any
) -> None:
    """An operator comes last, and needs no right to write the file."""
    shelf.values = values(1)
    one = passes()
    one.one()
    good = one.pipeline.known.current
    assert good is not None
    mount.write(SENTRY_TRACES_SAMPLE_RATE="1.0")
    one.one()
    bad = one.pipeline.known.current
    wishes = one.pipeline.known.wishes.holding(good, bad, one.pipeline.known.last_good)
    one.pipeline.grant(wishes)
    assert one.shown == ("1", 0.5)
    held = one.one()
    assert held.kind == "held"
    assert held.hint.startswith("correct SENTRY_TRACES_SAMPLE_RATE at the source, or")
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.2")
    one.one()
    assert one.shown == ("1", 0.2)
    assert one.pipeline.known.wishes.held is None


def test_wrong_settings_leave_the_tuning_as_it_is(
    passes: Callable[..., Passes],
    mount: Mount,
    shelf: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A throttle must not end because somebody misspelt a setting."""
    mount.write(SENTRY_TRACES_SAMPLE_RATE="0.1")
    shelf.values = values(1)
    one = passes()
    one.one()
    monkeypatch.setattr(assembling, "protect", lambda: None)
    shelf.error = SourceDown("no Vault")
    environ = {"RESENTRY_DIR": one.parts.settings.dir, "RESENTRY_LOG_LEVEL": "loud"}
    loaded = load_what_can_be({}, environ)
    assert loaded.problem is not None
    tuning = assembling._tuning_for_run(loaded)
    assert type(tuning) is KeptTuning
    two = Passes(replace(one.parts, tuning=tuning, problem=loaded.problem))
    two.one()
    assert two.shown == ("1", 0.1)


@pytest.mark.parametrize("place", ["volume", "volume/..data/x", "source"])
def test_a_place_that_cannot_be(tmp_path: Path, place: str) -> None:
    """The setting is wrong: with a snapshot on the volume the agent says so and goes on."""
    settings = Settings(
        dir=f"{tmp_path}/volume",
        source_path=f"{tmp_path}/source",
        tuning_path=f"{tmp_path}/{place}",
    )
    with pytest.raises(SettingsError, match="RESENTRY_TUNING_PATH"):
        assembling._open_tuning(settings)
    (problem,) = assembling._tuning_for_run(Loaded(settings, ())).problems
    assert problem.setting == "RESENTRY_TUNING_PATH"
    assert "restart the agent" in problem.hint


def test_parts_have_the_file_that_is_set(tmp_path: Path) -> None:
    settings = Settings(dir=f"{tmp_path}/volume", tuning_path=f"{tmp_path}/tuning")
    assert isinstance(assembling._open_tuning(settings), TuningFile)
