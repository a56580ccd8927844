"""bench/RESULTS.md, and the command that runs every benchmark."""

import importlib.util
import subprocess
import sys

import pytest

from bench import BENCHMARKS
from bench.draw import CHARTS, FOLDER, svg
from bench.page import MODULES, PAGE, at, cell, page, table
from bench.readme import README, readme
from bench.report import RESULTS, Section, in_rounds, over_rounds, ratio


def test_the_page_says_what_the_json_files_say() -> None:
    """`python -m bench.page` writes it; nobody else does."""
    assert PAGE.read_text() == page()


def test_the_readme_says_what_the_json_files_say() -> None:
    assert README.read_text() == readme()


def test_the_charts_show_what_the_json_files_say() -> None:
    for name in CHARTS:
        assert (FOLDER / f"{name}.svg").read_text() == svg(name), name


def test_every_row_has_a_figure() -> None:
    """A path that leads nowhere shows a dash: a column of dashes is a wrong path."""
    for line in PAGE.read_text().splitlines():
        assert not line.startswith("| ") or set(line.split(" | ")[1:]) != {"-"}, line


def test_a_figure_of_rounds_keeps_each_round() -> None:
    found = over_rounds([201.0, 190.0, 185.0])
    assert found["rounds"] == [201.0, 190.0, 185.0]
    assert cell(found) == "190 (185 to 201)"


def test_values_are_rounds_of_as_many() -> None:
    assert in_rounds([1, 9, 2, 8, 3, 7], rounds=2) == [2, 7]
    assert ratio([3, 30], [2, 20])["rounds"] == [1.5, 1.5]


def test_cells_have_the_digits_that_mean_something() -> None:
    values = [
        1249.6,
        44.72,
        1.234,
        0.0,
        8,
        "none",
        None,
        {"p50": 1, "p99": 2.5, "max": 3},
    ]
    assert list(map(cell, values)) == [
        "1,250",
        "44.7",
        "1.23",
        "0",
        "8",
        "none",
        "-",
        "1 / 2.50 / 3",
    ]


def test_a_table_takes_each_cell_from_its_path() -> None:
    section = Section("x", "", "", {"a": "f/{}/a", "b": "f/{}/b"}, {"t/u": "time"})
    found = {"f": {"t": {"u": {"a": 1, "b": 2}}}}
    assert table(section, found).splitlines()[2] == "| time | 1 | 2 |"
    assert at(found, "f/nothing/a") is None


def test_each_benchmark_can_be_run_and_is_on_the_page() -> None:
    for name in BENCHMARKS:
        assert importlib.util.find_spec(f"bench.{name}"), name
    assert set(BENCHMARKS) <= set(MODULES)
    shown = PAGE.read_text()
    for name in BENCHMARKS:
        assert (RESULTS / f"{name}.json").exists(), name
        assert f"results/{name}.json" in shown, name


@pytest.mark.process
def test_an_unknown_benchmark_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "agents"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no benchmark agents; there are agent, " in done.stderr
