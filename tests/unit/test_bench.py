"""What the benchmark concludes from its figures."""

import subprocess
import sys

from bench.agent import GATES, ROWS, broken_gates, ratios, table


def figures(value: float) -> dict[str, float]:
    return dict.fromkeys(ROWS, value)


def test_an_agent_at_the_gates_passes() -> None:
    assert broken_gates(figures(0) | GATES) == []


def test_a_broken_gate_is_named_with_its_limit() -> None:
    found = broken_gates(figures(0) | GATES | {"anon_mib": 31.0})
    assert found == ["memory, unshareable (MiB) is 31.0, allowed is 30"]


def test_ratios_leave_out_what_the_other_does_not_do() -> None:
    idle = figures(2.0) | {"cpu_ms_per_poll": 0.0}
    found = ratios({"agent": figures(3.0), "interpreter": idle})
    assert found["interpreter"]["rss_mb"] == 1.5
    assert "cpu_ms_per_poll" not in found["interpreter"]


def test_the_table_has_a_line_per_figure() -> None:
    text = table(
        {"agent": figures(3), "bao_agent": figures(2), "interpreter": figures(0)}
    )
    assert len(text.splitlines()) == 1 + len(ROWS)


def test_the_agent_does_not_pay_for_sentry_sdk() -> None:
    code = "import sys, agent.cli.run; sys.exit('sentry_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
