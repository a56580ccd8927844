"""What the benchmarks conclude from their figures."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench import inside
from bench.agent import GATES, ROWS, broken_gates, ratios
from bench.audit import Audit
from bench.faults import Fault, in_turns
from bench.flat import Look, allowed, broken, compare, grown, minutes
from bench.fleet import broken as unsteady
from bench.fleet import peak
from bench.inside import Holding
from bench.meter import Sample
from bench.pods import slow


def rounds(*values: float) -> dict[str, list[float]]:
    return {row: list(values) for row in ROWS}


def test_an_agent_at_the_gates_passes() -> None:
    at_gates = {row: [1.0, most, 99.0] for row, most in GATES.items()}
    assert broken_gates(rounds(0) | at_gates) == []


def test_a_broken_gate_is_named_with_its_limit() -> None:
    most = GATES["anon_mib"]
    found = broken_gates({row: [0.0] for row in GATES} | {"anon_mib": [most + 1]})
    assert found == [
        f"memory, not shareable (MiB) is {most + 1:.1f}, allowed is {most:g}"
    ]


def test_a_ratio_is_that_of_each_round() -> None:
    """One slow round of both changes no ratio. What the other does not do has none."""
    other = rounds(2.0, 20.0) | {"cpu_ms_per_poll": [0.0, 0.0]}
    found = ratios({"agent": rounds(3.0, 30.0), "interpreter": other})
    assert found["interpreter"]["rss_mb"]["rounds"] == [1.5, 1.5]
    assert "cpu_ms_per_poll" not in found["interpreter"]


@pytest.mark.process
def test_the_agent_does_not_pay_for_sentry_sdk() -> None:
    code = (
        "import sys, agent.cli.run, agent.daemon; sys.exit('sentry_sdk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The soak


def sample(at: int, **seen: Any) -> Sample:
    usual = {"rss_kib": 40000, "anon_kib": 30000, "descriptors": 13, "threads": 10}
    rest = {"passes": 5, "log_lines": 0, "healthy": True, "late": False}
    return Sample(at, **{**usual, **rest, **seen})


def look(at: int, **held: Any) -> Look:
    usual = {"trimmed_kib": 20000, "blocks": 9000, "objects": 4000, "types": {}}
    return Look(at, Holding(**{**usual, **held}))


LOOKS = [look(at) for at in range(0, 600, 60)]


def judged(
    samples: list[Sample], looks: list[Look] | None = None, **figures: Any
) -> list[str]:
    """What is wrong with a soak of ten minutes that gave these samples and looks."""
    good = {"answers": {"/livez 200": 600}, "unexpected_lines": []}
    counts = {
        "healthy_seconds": sum(one.healthy for one in samples),
        "missed_polls": sum(one.missed for one in samples),
    }
    ends = compare(samples, LOOKS if looks is None else looks, 600)
    return broken({"ends": ends, **good, **counts, **figures}, allowed(1920))


def test_an_agent_that_grows_while_warming_up_is_flat() -> None:
    """So is one that holds more while something is wrong."""
    samples = [sample(at, descriptors=9) for at in range(120)]
    samples += [sample(at) for at in range(120, 500)]
    samples += [sample(at, threads=12, healthy=False) for at in range(500, 560)]
    samples += [sample(at) for at in range(560, 600)]
    warming = [look(at, trimmed_kib=19000) for at in range(0, 200, 60)]
    assert judged(samples, warming + LOOKS[4:]) == []


def test_memory_that_is_free_has_not_grown() -> None:
    samples = [sample(at, anon_kib=30000 + at) for at in range(600)]
    assert judged(samples) == []


def test_the_middle_of_three_looks_counts() -> None:
    """At either end: what a swap under way holds is no growth."""
    samples = [sample(at) for at in range(600)]
    more = [look(at, trimmed_kib=20129) for at in range(480, 600, 60)]
    assert judged(samples, [*LOOKS[:9], more[0]]) == []
    assert judged(samples, LOOKS[:8] + more) == [
        "trimmed_kib grew by 129, allowed is 128"
    ]


def test_a_process_counts_what_it_holds() -> None:
    """Objects by type, and the pieces of memory also of what can hold no others."""

    class Leaked:
        pass

    before = inside.look()
    kept = [(Leaked(), str(number)) for number in range(5000)]
    large = b"x" * 2**26  # no memory that other tests have left free holds this
    after = inside.look()
    name = f"{Leaked.__module__}.{Leaked.__qualname__}"
    assert after.types[name] - before.types.get(name, 0) == 5000
    assert after.blocks - before.blocks > 2 * len(kept)
    assert after.trimmed_kib > before.trimmed_kib + len(large) // 2048


def test_objects_that_free_memory_hides_are_told() -> None:
    samples = [sample(at) for at in range(600)]
    more = [look(at, blocks=10501) for at in range(480, 600, 60)]
    assert judged(samples, LOOKS[:8] + more) == ["blocks grew by 1501, allowed is 1500"]


def test_the_types_that_have_grown_are_named() -> None:
    """The most first; those that came while warming up not at all."""
    looks = [look(at, types={"a.A": 5, "b.B": 1}) for at in range(200, 440, 60)]
    looks += [look(at, types={"a.A": 7, "b.B": 9}) for at in range(440, 620, 60)]
    early = [look(at, types={"c.C": 90}) for at in range(0, 200, 60)]
    assert grown([*early, *looks], 600) == {"b.B": 8, "a.A": 2}


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ({"descriptors": 14}, "descriptors were 13, became 14"),
        ({"threads": 9}, "threads were 10, became 9"),
    ],
)
def test_what_has_grown_is_told(after: dict[str, int], says: str) -> None:
    samples = [sample(at) for at in range(300)]
    samples += [sample(at, **after) for at in range(300, 600)]
    assert judged(samples) == [says]


@pytest.mark.parametrize(("seconds", "kib"), [(180, 768), (1919, 768), (1920, 128)])
def test_a_run_that_ends_while_caches_fill_may_grow_more(
    seconds: float, kib: int
) -> None:
    """They are full after twelve minutes; twenty more are compared."""
    assert allowed(seconds)["trimmed_kib"] == kib


def test_healthy_seconds_without_a_pass_are_missed() -> None:
    """Unless something was wrong, or the machine had no time to look."""
    lazy = [sample(at, passes=0) for at in range(30)]
    lazy += [sample(at, passes=0, healthy=False) for at in range(50)]
    lazy += [sample(at, passes=0, late=True) for at in range(50)]
    found = judged([*lazy, *(sample(at) for at in range(120, 600))])
    assert found == ["30 of 560 healthy seconds went by without a pass"]


def test_a_soak_that_was_never_well_proves_nothing() -> None:
    found = judged([sample(at, healthy=at < 120) for at in range(600)])
    assert found == ["it was too seldom well after warming up"]
    assert judged([sample(at) for at in range(600)], LOOKS[:8]) == found


def test_other_answers_and_tracebacks_are_told() -> None:
    samples = [sample(at) for at in range(600)]
    answers = {"/livez 200": 599, "/livez 503": 1}
    assert judged(samples, answers=answers) == ["/livez 503, 1 times"]
    assert "Traceback" in judged(samples, unexpected_lines=["Traceback"])[0]


def test_each_minute_has_a_line() -> None:
    found = minutes([sample(at, log_lines=1) for at in range(90)])
    assert [one["log_lines"] for one in found] == [60, 30]


def test_every_fault_comes_before_one_comes_again() -> None:
    """Each round in another order, the same for the same seed."""
    known = [Fault(str(number), int, int) for number in range(9)]
    names = [
        [one.name for one in itertools.islice(in_turns(known, Random(seed)), 18)]
        for seed in (1, 1, 2)
    ]
    assert sorted(names[0][:9]) == sorted(names[0][9:]) == sorted(map(str, range(9)))
    assert names[0][:9] != names[0][9:]
    assert names[0] == names[1] != names[2]


# The fleet


def test_the_peak_is_what_one_window_holds() -> None:
    assert peak([0.0, 0.05, 0.09, 0.1, 0.3], 0.1) == 3
    assert peak([0.3, 0.0, 0.299], 0.1) == 2
    assert peak([], 0.1) == 0


def test_more_than_one_request_for_a_poll_is_told() -> None:
    good = {"polls": 9, "requests": {"reads": 9}, "errors": 0, "others": 0}
    good |= {"requests_per_poll": 1.0}
    assert unsteady({"1": good}) == []
    more = {"requests": {"reads": 9, "look_ups": 1}, "others": 1}
    told = unsteady({"1": good, "10": good | more, "100": good | {"errors": 2}})
    assert [one.partition(":")[0] for one in told] == ["of 10", "of 100"]


# The audit log


class Logged:
    """A server's folder, without the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, kind: str, name: str, second: float) -> str:
        request = {"id": name, "operation": "read", "path": f"secret/{name}"}
        at = f"2026-11-24T10:00:{second:012.9f}Z"
        return json.dumps({"type": kind, "time": at, "request": request}) + "\n"


def test_calls_are_read_once_and_whole(tmp_path: Path) -> None:
    """A line that is half written waits, and a request for its answer."""
    server = Logged(tmp_path)
    audit = Audit(server)  # type: ignore[arg-type]
    answer = server.log("response", "a", 1.25)
    with (tmp_path / "audit.log").open("a", buffering=1) as file:
        file.write(server.log("request", "a", 1.0) + server.log("request", "b", 2))
        assert audit.calls() == []
        file.write(answer[:20])
        file.flush()
        assert audit.calls() == []
        file.write(answer[20:])
        file.flush()
        (found,) = audit.calls()
    assert (found.path, found.seconds) == ("secret/a", 0.25)
    assert audit.calls() == []


def test_a_late_table_of_pods_is_named() -> None:
    """With the number of pods that were silent."""
    found: dict[str, dict[str, Any]] = {
        "0": {"seconds": 1.0},
        "100": {"seconds": 12.4},
    }
    assert slow(found) == ["1000 pods, 100 of them silent: 12.4 s"]
