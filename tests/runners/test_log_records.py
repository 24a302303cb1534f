"""From the kubelet's stamped lines back to the bytes that a container printed, in blocks of any size, resumed anywhere."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from runners.backends.kubernetes_records import Cursor, Records, moment

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def stamped(lines: list[bytes], zone: str = "Z", step: float = 0.3) -> list[tuple[datetime, bytes]]:
    """(time, what the kubelet sends) of each line; every third has the stamp of the line before."""
    sent, at = [], START
    for number, line in enumerate(lines):
        if number % 3:
            at += timedelta(seconds=step)
        local = at if zone == "Z" else at + timedelta(hours=8)
        text = f"{local.strftime('%Y-%m-%dT%H:%M:%S.%f')}{number // 3:03d}"
        sent.append((at, f"{text}{zone} ".encode() + line))
    return sent


LINES = [
    b"first\n",
    b"\n",
    b"2026-01-02T03:04:05.000000000Z looks like a stamp\n",
    b"progress 1%\rprogress 2%\r\n",
    b"x" * 5000 + b"\n",
    b"\xff\x00 not text\n",
    b"same\n",
    b"same\n",
    b"same\n",
    b"\n",
    b"y" * 3000 + b"\n",
    b"no newline at the end",
]
PRINTED = b"".join(LINES)


def read(records: Records, data: bytes, sizes: random.Random) -> list[tuple[bytes, str]]:
    read, at = [], 0
    while at < len(data):
        size = sizes.choice((1, 7, 33, 500, 4096))
        content = records.feed(data[at : at + size])
        at += size
        read.append((content, str(records.cursor)))
    return read


@pytest.mark.parametrize("zone", ["Z", "+08:00"])
@pytest.mark.parametrize("seed", range(20))
def test_blocks_of_any_size_give_what_was_printed(zone, seed):
    sent = b"".join(line for _, line in stamped(LINES, zone))
    assert b"".join(content for content, _ in read(Records(Cursor()), sent, random.Random(seed))) == PRINTED


@pytest.mark.parametrize("zone", ["Z", "+08:00"])
@pytest.mark.parametrize("seed", range(5))
def test_every_cursor_resumes_at_its_byte(zone, seed):
    lines = stamped(LINES, zone)
    before = b""
    for content, cursor in read(Records(Cursor()), b"".join(line for _, line in lines), random.Random(seed)):
        before += content
        at = Cursor.parse(cursor)
        assert at.total == len(before)
        since = datetime.fromisoformat(at.since) if at.since else START
        again = b"".join(line for time, line in lines if time >= since)
        records = Records(at)
        assert before + b"".join(more for more, _ in read(records, again, random.Random(seed + 1))) == PRINTED
        assert str(records.cursor).rpartition("/")[2] == str(len(PRINTED))


def test_a_resumed_reading_that_is_cut_while_it_catches_up_can_be_resumed_again():
    lines = stamped([b"one\n", b"z" * 1000 + b"\n", b"two\n"])
    sent = b"".join(line for _, line in lines)
    records = Records(Cursor())
    first = records.feed(sent[:600])
    second = Records(Cursor.parse(str(records.cursor)))
    assert second.feed(sent[:200]) == b""
    third = Records(Cursor.parse(str(second.cursor)))
    assert first + third.feed(sent) == b"one\n" + b"z" * 1000 + b"\ntwo\n"


def test_lines_that_were_rotated_away_are_noticed():
    lines = stamped([b"one\n", b"two\n", b"three\n", b"four\n"])
    records = Records(Cursor())
    records.feed(lines[0][1] + lines[1][1])
    later = Records(records.cursor)
    assert later.feed(lines[3][1]) == b"four\n"
    assert later.gap


def test_after_a_file_that_was_read_to_its_end_the_next_one_is_no_gap():
    lines = stamped([b"one\n", b"two\n", b"three\n", b"four\n"])
    records = Records(Cursor())
    records.feed(lines[0][1] + lines[1][1])
    later = Records(records.cursor, whole=True)
    assert later.feed(lines[2][1] + lines[3][1]) == b"three\nfour\n"
    assert not later.gap


@pytest.mark.parametrize("seed", range(5))
def test_the_first_lines_of_a_new_file_may_be_older_than_the_last_of_the_old_one(seed):
    lines = stamped(LINES, step=0.01)
    records = Records(Cursor())
    records.feed(lines[-1][1].replace(b"no newline at the end", b"last of the old file\n"))
    later = Records(Cursor.parse(str(records.cursor)), whole=True)
    after = (lines[-1][0] + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z newer\n").encode()
    sent = b"".join(line for _, line in lines[:-1]) + after
    assert b"".join(content for content, _ in read(later, sent, random.Random(seed))) == b"".join(LINES[:-1]) + b"newer\n"


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_read_beyond_the_limit(seed):
    lines = stamped(LINES)
    records = Records(Cursor())
    records.limit = lines[7][0]
    content = b"".join(content for content, _ in read(records, b"".join(line for _, line in lines), random.Random(seed)))
    kept = [line for (time, _), line in zip(lines, LINES, strict=True) if time <= records.limit]
    assert content == b"".join(kept)
    assert records.passed
    assert records.cursor.total == len(content)


def test_nothing_new_is_no_gap():
    lines = stamped([b"one\n", b"two\n"])
    records = Records(Cursor())
    records.feed(lines[0][1] + lines[1][1])
    again = Records(records.cursor)
    assert again.feed(lines[0][1] + lines[1][1]) == b""
    assert not again.gap


def test_the_words_of_the_api_server_are_not_output():
    records = Records(Cursor())
    line = stamped([b"one\n"])[0][1]
    assert records.feed(line + b"unable to retrieve container logs for containerd://0123456789") == b"one\n"
    assert records.foreign


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "words", [b"failed to create fsnotify watcher: too many open files", b"unable to retrieve container logs for containerd://0"]
)
def test_the_words_of_the_kubelet_are_not_output_within_a_line_either(words, together):
    records = Records(Cursor())
    begun = stamped([b"one\n", b"two and a"])
    sent = b"".join(line for _, line in begun)
    read = records.feed(sent + words) if together else records.feed(sent) + records.feed(words)
    assert read == b"one\ntwo and a"
    assert records.foreign
    assert records.cursor.total == len(read)


def test_it_tells_when_the_first_byte_of_a_block_was_printed():
    records = Records(Cursor())
    lines = stamped([b"one\n", b"two\n", b"three\n"])
    records.feed(lines[0][1])
    assert records.printed_at == lines[0][0]
    records.feed(lines[1][1] + lines[2][1])
    assert records.printed_at == lines[1][0].replace(microsecond=lines[1][0].microsecond)


def test_a_cursor_survives_being_stored():
    cursor = Cursor("f3a0-uid", 0, b"2026-01-02T03:04:05.678901234+08:00", 2, 17, 123456)
    assert Cursor.parse(str(cursor)) == cursor
    assert len(str(cursor)) < 300


def test_since_time_is_in_whole_seconds_and_a_second_earlier():
    assert Cursor("", 0, b"2026-01-02T11:04:05.678901234+08:00").since == "2026-01-02T03:04:04Z"
    assert moment(b"2026-01-02T03:04:05.678901234Z").microsecond == 678901
