"""The log endpoint of an API server for one container, with rotation as the kubelet does it: tests say when, and who is behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class LogServer:
    """Serves the newest of `files`; a follower reads its file to the end and then stays there until the container has ended.

    With `goes_on` it goes on to the newest file instead, as the kubelet's does when it was waiting there as the log was rotated.
    """

    def __init__(self) -> None:
        self.files: list[list[bytes]] = [[]]
        self.ended = False
        self.goes_on = False
        self.stays = False  # followers get no end even then, like those of a node that answers nobody any more
        self.hold_back = threading.Event()  # followers send nothing until it is set
        self.hold_back.set()
        self.followers = 0
        self.looks = 0  # requests for the beginning of the newest file
        self._at = START
        self._printed: list[bytes] = []
        self._changed = threading.Condition()

    @property
    def printed(self) -> bytes:
        """All that the container printed."""
        return b"".join(self._printed)

    def print(self, count: int = 100, step: float = 0.01, back: float = 0.0) -> None:
        """Have the container print lines of 1 kB, `step` seconds apart, the first one `back` seconds before the last one so far."""
        with self._changed:
            self._at -= timedelta(seconds=back)
            for _ in range(count):
                self._at += timedelta(seconds=step)
                line = b"%d " % len(self._printed) + b"x" * 1000 + b"\n"
                self._printed.append(line)
                self.files[-1].append(f"{self._at:%Y-%m-%dT%H:%M:%S.%f}000Z ".encode() + line)
            self._changed.notify_all()

    def rotate(self) -> None:
        """Begin a new file."""
        with self._changed:
            self.files.append([])

    def rotate_within_a_line(self) -> None:
        """Begin a new file in the middle of a line: each part has a stamp of its own, and only the second a newline."""
        with self._changed:
            stamps = []
            for _ in range(2):
                self._at += timedelta(seconds=0.001)
                stamps.append(f"{self._at:%Y-%m-%dT%H:%M:%S.%f}000Z ".encode())
            self.files[-1].append(stamps[0] + b"the first part, ")
            self.files.append([stamps[1] + b"the second\n"])
            self._printed.append(b"the first part, the second\n")
            self._changed.notify_all()

    def end(self) -> None:
        """The container has ended."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_for_followers(self, count: int) -> None:
        """Until so many streams were opened."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.followers >= count, 10), f"{self.followers} followers"

    def answer(self, query: dict[str, str]) -> Iterator[bytes]:
        """What a GET brings, as it comes."""
        with self._changed:
            number, at = len(self.files) - 1, 0
            if "limitBytes" not in query:
                self.followers += 1
                self._changed.notify_all()
        if "limitBytes" in query:
            self.looks += 1
            yield b"".join(self.files[number])[: int(query["limitBytes"])]
            return
        self.hold_back.wait(10)
        since = query.get("sinceTime", "").rstrip("Z").encode()
        while True:
            with self._changed:
                lines, at = self.files[number][at:], len(self.files[number])
                if not lines:
                    if self.goes_on and number < len(self.files) - 1:
                        number, at = len(self.files) - 1, 0
                        continue
                    if (self.ended and not self.stays) or not query.get("follow"):
                        return
                    self._changed.wait(0.05)
            yield b"".join(line for line in lines if line >= since)


@contextmanager
def log_server(folder: Path) -> Iterator[tuple[LogServer, str]]:
    """Run one; yields it and the path of a kubeconfig that leads to it."""
    log = LogServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for data in log.answer(query):
                    if data:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    config = folder / "kubeconfig"
    cluster = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    users = [{"name": "test", "user": {}}]
    config.write_text(yaml.safe_dump({"clusters": [cluster], "contexts": [context], "users": users, "current-context": "test"}))
    try:
        yield log, str(config)
    finally:
        log.stays = False
        log.end()
        log.hold_back.set()
        server.shutdown()
        server.server_close()
