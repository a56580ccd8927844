"""Real servers on loopback for the demo, the end-to-end tests and the benchmarks.

Every server is a context manager, listens on a free port of 127.0.0.1, and leaves
nothing behind. This package is in no wheel.
"""
