"""A container's log that the kubelet rotates while it is followed: every file is read, in order, and nothing comes twice."""

import threading
import time

import pytest

from runners.backends import kubernetes_files
from runners.backends.base import Piece
from runners.backends.kubernetes_api import Api
from runners.backends.kubernetes_log import Place, follow
from tests.support.log_server import LogServer, log_server


@pytest.fixture
def log(tmp_path, monkeypatch):
    for name, seconds in {"_LOOK_SECONDS": 0.05, "_LOOK_RARELY": 0.2, "_SILENT_CLOSE": 0.3, "_SILENT": 1.0}.items():
        monkeypatch.setattr(kubernetes_files, name, seconds)
    with log_server(tmp_path) as (log, kubeconfig):
        log.kubeconfig = kubeconfig
        yield log


class Reader(threading.Thread):
    """Follows the log as the watcher does."""

    def __init__(self, log: LogServer, cursor: str = "") -> None:
        super().__init__(daemon=True)
        self.log, self.cursor, self.api = log, cursor, Api(log.kubeconfig)
        self.pieces: list[Piece] = []
        self.start()

    def run(self) -> None:
        self.pieces.extend(follow(self.api, "builds", "build", self.cursor, self._place, time.sleep))

    def _place(self) -> Place:
        return Place("pod", "uid", started=True, ended=self.log.ended)

    def finish(self) -> bytes:
        self.log.end()
        return self.read()

    def read(self) -> bytes:
        self.join(20)
        assert not self.is_alive()
        self.api.close()
        return b"".join(piece.data for piece in self.pieces)

    @property
    def suspicions(self) -> list[int]:
        return [piece.missing for piece in self.pieces if piece.missing is not None]


def wait_for(what) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_that_stays_in_the_old_file_is_left_for_the_new_one(log):
    reader = Reader(log)
    log.print()
    wait_for(lambda: sum(len(piece.data) for piece in reader.pieces) == len(log.printed))
    time.sleep(0.2)
    log.rotate()
    log.print()
    wait_for(lambda: sum(len(piece.data) for piece in reader.pieces) == len(log.printed))  # while the container still runs
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_no_file_is_skipped_by_a_reader_that_is_behind(log):
    reader = Reader(log)
    log.print()
    wait_for(lambda: reader.pieces)
    time.sleep(0.2)
    log.hold_back.clear()
    for streams in (2, 3, 4):
        log.rotate()
        log.print()
        log.wait_for_followers(streams)
    log.hold_back.set()
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_a_stream_that_skips_a_file_is_left_for_the_one_it_skipped(log):
    reader = Reader(log)
    log.print()
    wait_for(lambda: log.looks)
    log.rotate()
    log.print(step=0.05)
    log.wait_for_followers(2)
    log.rotate()
    log.print(300)
    log.goes_on = True
    log.wait_for_followers(3)
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_nothing_comes_twice_from_a_stream_that_goes_on_by_itself(log):
    log.goes_on = True
    reader = Reader(log)
    for _ in range(4):
        log.print(300)
        time.sleep(0.2)
        log.rotate()
    log.print()
    assert reader.finish() == log.printed
    assert reader.suspicions == []


@pytest.mark.parametrize("goes_on", [False, True])
def test_lines_of_the_new_file_may_be_older_than_the_last_of_the_old_one(log, goes_on):
    log.goes_on = goes_on
    reader = Reader(log)
    log.print()
    time.sleep(0.2)
    log.rotate()
    log.print(30, back=0.105)
    time.sleep(0.7)
    log.print(200)
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_a_line_that_two_files_share_is_read_whole(log):
    reader = Reader(log)
    log.print()
    wait_for(lambda: log.looks)
    log.rotate_within_a_line()
    log.print()
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_a_file_that_nobody_followed_is_a_gap(log):
    reader = Reader(log)
    log.print()
    cursor = ""

    def all_of_it() -> bool:
        return sum(len(piece.data) for piece in reader.pieces) == len(log.printed)

    wait_for(all_of_it)
    cursor, first = reader.pieces[-1].cursor, len(log.printed)
    log.rotate()
    log.print(step=0.05)
    second = len(log.printed)
    log.rotate()
    log.print()
    log.end()
    later = Reader(log, cursor)
    assert later.read() == log.printed[second:]
    assert later.suspicions == [0]
    assert second > first
    reader.read()


def test_what_an_ended_container_printed_is_read_without_waiting_for_more(log):
    log.stays = True
    log.print()
    log.end()
    assert Reader(log).read() == log.printed


def test_a_stream_that_its_node_leaves_open_is_not_waited_for_once_the_container_has_ended(log):
    log.stays = True
    reader = Reader(log)
    log.print()
    wait_for(lambda: sum(len(piece.data) for piece in reader.pieces) == len(log.printed))
    assert reader.finish() == log.printed
    assert reader.suspicions == []


def test_a_small_output_is_not_looked_at_twice(log):
    reader = Reader(log)
    log.print(20)
    time.sleep(0.3)
    assert reader.finish() == log.printed
    assert log.followers == 2  # once more after its end: that a stream ended says nothing
