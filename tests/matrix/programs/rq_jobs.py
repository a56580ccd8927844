"""The job of the RQ workers: it reports one event."""

from captures import capture


def work(item: int) -> None:
    capture(item)
