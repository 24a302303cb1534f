"""Live output as server-sent events, over real connections."""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.db import connection

from logs import stream
from logs.models import Output
from logs.output import Recorder, read
from runners.models import Run
from tests.support import rows
from tests.support.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
LINE = "Schritt 1 → 🙂 fertig\r\n"


@pytest.fixture(autouse=True)
def nobody_follows_afterwards() -> Iterator[None]:
    """The follower ends with its last reader, before the tables are emptied."""
    yield
    deadline = time.monotonic() + 10
    while stream.HUB._thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stream.HUB._thread is None


@pytest.fixture
def run() -> Run:
    return rows.run(rows.event(rows.repository(), status="2"))


def recorder(run: Run) -> Recorder:
    return Recorder(run.pk, ("build",), [])


@dataclass
class Reader:
    """An EventSource: collects what comes until `end`, or until `stop_after` bytes of text."""

    port: int
    run: int
    position: int | None = None
    stop_after: int = 1 << 60
    text: str = ""
    ids: list[int] = field(default_factory=list)
    end: dict | None = None
    comments: int = 0

    def open(self) -> http.client.HTTPResponse:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Accept": "text/event-stream"}
        if self.position is not None:
            headers["Last-Event-ID"] = str(self.position)
        self.connection.request("GET", f"/job/{self.run}/output/", headers=headers)
        return self.connection.getresponse()

    def follow(self) -> "Reader":
        answer = self.open()
        assert answer.status == 200, answer.read()
        fields: dict[str, str] = {}
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields.get("event"):
                self.ids.append(int(fields["id"]))
                if fields["event"] == "end":
                    self.end = json.loads(fields["data"])
                    break
                self.text += json.loads(fields["data"])
                if len(self.text) >= self.stop_after:
                    break
                fields = {}
            else:
                fields = {}
        self.connection.close()
        return self


class Following(threading.Thread):
    """A reader in a thread."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(daemon=True)
        self.reader = reader
        self.start()

    def run(self) -> None:
        self.reader.follow()

    def done(self) -> Reader:
        self.join(30)
        assert not self.is_alive()
        return self.reader


def port(live_server) -> int:
    return int(live_server.url.rpartition(":")[2])


def test_a_finished_output_comes_at_once_and_ends(live_server, run: Run):
    one = recorder(run)
    one.append("build", LINE.encode() * 3, "1")
    one.close("succeeded")
    reader = Reader(port(live_server), run.pk).follow()
    assert reader.text == LINE * 3
    assert reader.end == {
        "outcome": "succeeded",
        "verdict": "unproven",
        "verdict_detail": "build could not report what it printed",
        "size": len(LINE.encode()) * 3,
    }


def test_what_is_appended_comes_to_those_who_wait(live_server, run: Run):
    following = Following(Reader(port(live_server), run.pk))
    until(lambda: run.pk in stream.HUB._runs)
    one = recorder(run)
    one.append("build", b"first\n", "1")
    until(lambda: following.reader.text == "first\n")
    one.append("build", b"second\n", "2")
    until(lambda: following.reader.text == "first\nsecond\n")
    one.close("failed")
    assert following.done().end["outcome"] == "failed"


def test_the_headers_keep_proxies_from_holding_it_back(live_server, run: Run):
    recorder(run).close("failed")
    answer = Reader(port(live_server), run.pk).open()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    answer.read()


def test_ids_are_offsets_at_which_another_reader_goes_on(live_server, run: Run):
    one = recorder(run)
    for number in range(20):
        one.append("build", f"{number} {LINE}".encode(), str(number))
    one.close("succeeded")
    whole = Reader(port(live_server), run.pk).follow()
    for offset in whole.ids[:-1]:
        rest = Reader(port(live_server), run.pk, position=offset).follow()
        assert whole.text.encode()[offset:] == rest.text.encode()


def test_a_reader_that_was_cut_off_goes_on_where_it_was(live_server, run: Run):
    one = recorder(run)
    one.append("build", LINE.encode(), "1")
    first = Reader(port(live_server), run.pk, stop_after=len(LINE)).follow()
    one.append("build", b"while away\n", "2")
    one.close("succeeded")
    second = Reader(port(live_server), run.pk, position=first.ids[-1]).follow()
    assert first.text + second.text == LINE + "while away\n"


def test_an_offset_beyond_the_end_is_refused(live_server, run: Run):
    recorder(run).append("build", b"12345", "1")
    answer = Reader(port(live_server), run.pk, position=6).open()
    assert (answer.status, json.loads(answer.read())["size"]) == (416, 5)


@pytest.mark.parametrize("given", ["-1", "x", "1.5"])
def test_an_offset_that_is_none_is_refused(client, run: Run, given: str):
    answer = client.get(f"/job/{run.pk}/output/", {"from": given}, headers={"Accept": "text/event-stream"})
    assert answer.status_code == 400


def test_a_character_that_comes_in_two_pieces_is_one(live_server, run: Run):
    one, smiley = recorder(run), "🙂".encode()
    following = Following(Reader(port(live_server), run.pk))
    for number in range(4):
        one.append("build", smiley[number : number + 1], str(number))
        time.sleep(0.06)
    one.append("build", b"\n", "5")
    one.close("succeeded")
    assert following.done().text == "🙂\n"


def test_a_reader_that_comes_in_the_middle_of_a_character_gets_it_whole(live_server, run: Run):
    one, smiley = recorder(run), "🙂".encode()
    one.append("build", b"a" + smiley[:2], "1")
    following = Following(Reader(port(live_server), run.pk))
    until(lambda: following.reader.text == "a")
    one.append("build", smiley[2:], "2")
    one.close("succeeded")
    assert following.done().text == "a🙂"


def test_bytes_that_are_no_text_are_shown_as_such(live_server, run: Run):
    one = recorder(run)
    one.append("build", b"\xff\xfe|\xe2\x82", "1")
    one.close("failed")
    reader = Reader(port(live_server), run.pk).follow()
    assert reader.text == "��|�"
    assert reader.ids[-1] == 5


def test_every_kind_of_line_end_survives(live_server, run: Run):
    one, text = recorder(run), '\r\n \n\n \r \r\r data: x\nid: 5\n\n"\\ \u2028 \x00 \x1b[31m'
    one.append("build", text.encode(), "1")
    one.close("succeeded")
    assert Reader(port(live_server), run.pk).follow().text == text


def test_a_heartbeat_shows_that_the_connection_lives(live_server, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    following = Following(Reader(port(live_server), run.pk))
    until(lambda: following.reader.comments >= 3)
    recorder(run).close("failed")
    following.done()


def test_many_readers_that_come_at_any_time_get_the_same_bytes(live_server, run: Run):
    rng, one, followers = random.Random(5), recorder(run), []
    text = "".join(f"{number} {LINE}" for number in range(3000))
    raw, position = text.encode(), 0
    while position < len(raw):
        size = rng.choice([1, 7, 100, 2000, 9000])
        one.append("build", raw[position : position + size], str(position))
        position += size
        if len(followers) < 15 and rng.random() < 0.3:
            followers.append(Following(Reader(port(live_server), run.pk)))
    one.close("succeeded")
    for follower in followers:
        assert follower.done().text == text
    assert len(followers) == 15


def test_a_reader_that_is_slow_gets_all_and_holds_up_nobody(live_server, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "TAIL_BYTES", 4096)
    one = recorder(run)
    slow = stream.live(run.pk)
    got = [next(slow)]
    one.append("build", b"begin\n", "0")
    got.append(next(slow))  # … and now it stalls
    quick = Following(Reader(port(live_server), run.pk))
    raw = b"".join(b"line %d of the output\n" % number for number in range(5000))
    for start in range(0, len(raw), 3000):
        one.append("build", raw[start : start + 3000], str(start))
    one.close("succeeded")
    assert quick.done().text == "begin\n" + raw.decode()
    got += slow
    texts = [json.loads(message.split(b"data: ")[1]) for message in got if b"event: output" in message]
    assert "".join(texts) == "begin\n" + raw.decode()


def test_a_run_that_ended_without_output_ends_the_stream(live_server, run: Run):
    following = Following(Reader(port(live_server), run.pk))
    until(lambda: run.pk in stream.HUB._runs)
    run.finish("cancelled", reason="by hand")
    reader = following.done()
    assert (reader.text, reader.end) == ("", {"outcome": "cancelled", "verdict": "", "verdict_detail": "", "size": 0})


def test_a_run_that_is_removed_ends_the_stream(live_server, run: Run):
    recorder(run).append("build", b"x\n", "1")
    following = Following(Reader(port(live_server), run.pk))
    until(lambda: following.reader.text == "x\n")
    run.delete()
    assert following.done().end["outcome"] == ""


def test_a_reader_that_goes_away_is_forgotten(run: Run):
    events = stream.live(run.pk)
    next(events)
    assert run.pk in stream.HUB._runs
    events.close()
    assert run.pk not in stream.HUB._runs


def test_a_reader_that_waits_holds_no_connection_to_the_database(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "HEARTBEAT", 0.1)
    recorder(run).append("build", b"x\n", "1")
    events = stream.live(run.pk)
    until(lambda: next(events) == stream.ALIVE)
    assert connection.connection is None
    events.close()


@pytest.mark.parametrize("seed", range(30))
def test_events_put_together_are_the_text_however_the_bytes_are_cut(run: Run, seed: int):
    rng = random.Random(seed)
    raw = b"".join(rng.choice(["é".encode(), "🙂".encode(), b"x", b"\xff", b"\xe2\x82"]) for _ in range(200))
    one, position = recorder(run), 0
    while position < len(raw):
        size = rng.randrange(1, 30)
        one.append("build", raw[position : position + size], str(position))
        position += size
    events = list(stream.encode(0, read(Output.objects.get(run_id=run.pk)), last=True))
    texts = [json.loads(event.message.split(b"data: ")[1]) for event in events]
    assert "".join(texts) == raw.decode(errors="replace")
    assert [event.start for event in events] == [0, *(event.end for event in events[:-1])]
    assert events[-1].end == len(raw)
