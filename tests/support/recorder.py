"""A sink for tests that look for a text in whatever arrives."""

from lab.sink import Sink


class Recorder(Sink):
    """A sink that keeps what arrives as it arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = ""

    def book(self, project: int, key: str, body: bytes) -> str:
        self.arrived += body.decode()
        return super().book(project, key, body)
