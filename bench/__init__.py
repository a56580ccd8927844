"""What agent, library and bridge cost, beside what people would use instead."""

BENCHMARKS = {
    "agent": 3.0,
    "image": 2.0,
    "profile": 0.7,
    "converge": 4.5,
    "restart": 2.5,
    "swap": 1.5,
    "library": 3.0,
    "serving": 7.0,
    "fork": 1.0,
    "sampling": 0.5,
    "scrub": 0.5,
    "burst": 1.0,
    "fleet": 3.0,
    "pods": 0.5,
    "bridge": 1.0,
}
"""All, in the order in which they run, and the minutes that each takes on two cores."""
