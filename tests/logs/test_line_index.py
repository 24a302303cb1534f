"""The index of an output's lines: any line is found without reading those before it, however the bytes arrived."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logs import line_index
from logs.archive import archive
from logs.landmarks import Landmark
from logs.line_index import LONGEST, SEGMENT, all_landmarks, complete, open_index, read_lines
from logs.models import Output, OutputSegment
from logs.output import Recorder

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FOREVER = 60.0  # seconds: what a busy machine needs must not decide


def output_of(*pieces: bytes, outcome: str = "") -> Output:
    recorder = Recorder(1, ("build",), [])
    for cursor, piece in enumerate(pieces):
        recorder.append("build", piece, str(cursor + 1), NOON)
    if outcome:
        recorder.close(outcome)
    return Output.objects.get(run_id=1)


def numbered(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(count))


def texts(output: Output, first: int, count: int) -> list[str]:
    return read_lines(open_index(output, FOREVER), first, count).texts


def as_defined(data: bytes) -> list[str]:
    """The lines of an output, by the definition and without an index."""
    found = []
    for line in data.split(b"\n"):
        line += b"\n"
        while len(line) > LONGEST:
            end = LONGEST
            while line[end] & 0xC0 == 0x80:
                end -= 1
            found.append(line[:end])
            line = line[end:]
        found.append(line)
    if found[-1] == b"\n":
        found.pop()
    return [line.removesuffix(b"\n").decode() for line in found]


@pytest.mark.parametrize("outcome", ["", "succeeded"])
def test_it_finds_any_line_of_many(outcome: str):
    output = output_of(numbered(300_000), outcome=outcome)
    index = open_index(output, FOREVER)
    assert (index.lines, index.complete, index.partial) == (300_000, True, False)
    for first in (0, 1, 77_777, 123_456, 299_998):
        assert texts(output, first, 2) == [f"line {first}", f"line {first + 1}"]


def test_lines_beyond_the_end_are_none():
    output = output_of(b"one\ntwo\n")
    assert texts(output, 1, 10) == ["two"]
    assert texts(output, 2, 10) == texts(output, 1000, 10) == []


def test_a_run_without_output_has_no_lines():
    assert open_index(Output(run_id=1)).lines == 0


@pytest.mark.parametrize("seed", range(5))
def test_lines_do_not_depend_on_how_the_bytes_came(seed: int):
    chance = random.Random(seed)
    kinds = ["", "short", "größer → 大きい", "x" * 500, "ä" * LONGEST, "大" * 9000, "y" * (LONGEST - 1), "z" * LONGEST]
    data = "\n".join(chance.choice(kinds) for _ in range(600)).encode()
    pieces, at = [], 0
    while at < len(data):
        size = chance.choice([1, 1000, 70_000, 300_000])
        pieces.append(data[at : at + size])
        at += size
    expected = as_defined(data)
    output = output_of(*pieces, outcome=chance.choice(["", "failed"]))
    assert open_index(output, FOREVER).lines == len(expected)
    for first in [0, len(expected) - 1, *chance.sample(range(len(expected)), 20)]:
        found = texts(output, first, 3)
        assert found == expected[first : first + len(found)]
        assert found


def test_two_who_index_the_same_make_the_same():
    output = output_of(numbered(400_000), outcome="succeeded")
    complete(output)
    first = list(OutputSegment.objects.values_list("start", "end", "first_line", "lines", "marks", "landmarks", "colours"))
    OutputSegment.objects.all().delete()
    while not open_index(output, -1).complete:
        open_index(output, 0.001)
    assert list(OutputSegment.objects.values_list("start", "end", "first_line", "lines", "marks", "landmarks", "colours")) == first
    assert len(first) > 3


def test_an_index_that_takes_longer_than_one_waits_is_continued_by_the_next():
    output = output_of(numbered(200_000), outcome="succeeded")
    OutputSegment.objects.all().delete()
    index = open_index(output, -1)
    assert (index.complete, index.lines, read_lines(index, 0, 5).texts) == (False, 0, [])
    assert open_index(output, FOREVER).lines == 200_000


def test_a_line_is_read_without_those_before_it(monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries):
    output = output_of(*[b"x" * 99 + b"\n"] * 10, *[(b"x" * 99 + b"\n") * 10_000] * 10, outcome="succeeded")
    complete(output)
    asked = []
    original = line_index.read
    monkeypatch.setattr(line_index, "read", lambda output, start, end: asked.append(end - start) or original(output, start, end))
    with django_assert_max_num_queries(7):
        assert texts(output, 70_000, 100) == ["x" * 99] * 100
    assert sum(asked) < SEGMENT


def test_an_archived_output_has_the_same_lines_and_times(settings, tmp_path: Path):
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "default": folder}
    output = output_of(numbered(200_000), outcome="succeeded")
    before = read_lines(open_index(output, FOREVER), 150_000, 3)
    assert archive(output)
    after = read_lines(open_index(Output.objects.get(pk=output.pk)), 150_000, 3)
    assert after == before
    assert after.times == [[0, int(NOON.timestamp() * 1000)]]


def test_the_last_line_grows_until_it_is_ended():
    recorder = Recorder(1, ("build",), [])
    recorder.append("build", "one\nzwei ü".encode()[:-1], "1")
    found = read_lines(open_index(recorder.output), 0, 10)
    assert (found.texts, found.partial, found.end) == (["one", "zwei "], True, 9)
    recorder.append("build", "ü".encode()[1:] + b"!\n", "2")
    found = read_lines(open_index(recorder.output), 0, 10)
    assert (found.texts, found.partial, found.end) == (["one", "zwei ü!"], False, 13)


def test_bytes_that_are_no_text_are_shown_as_such():
    assert texts(output_of(b"\xff\xfe raw\n\x00\n"), 0, 5) == ["\ufffd\ufffd raw", "\x00"]


def test_each_line_has_the_time_at_which_it_was_printed():
    recorder = Recorder(1, ("build",), [])
    for second in (0, 5, 5, 9):
        recorder.append("build", b"at %d\n" % second, f"{second}", NOON + timedelta(seconds=second))
    start = int(NOON.timestamp() * 1000)
    assert read_lines(open_index(recorder.output), 0, 9).times == [[0, start], [1, start + 5000], [3, start + 9000]]
    assert read_lines(open_index(recorder.output), 2, 9).times == [[0, start + 5000], [1, start + 9000]]


def test_what_has_no_time_of_its_own_has_the_one_at_which_it_was_received():
    recorder = Recorder(1, ("build",), [])
    recorder.append("build", b"now\n", "1")
    [[row, at]] = read_lines(open_index(recorder.output), 0, 1).times
    assert row == 0
    assert abs(at / 1000 - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize(
    ("printed", "colours"),
    [
        ("plain", ""),
        ("\x1b[31mred", "31"),
        ("\x1b[31m\x1b[1;44mmore", "44;1;31"),
        ("\x1b[31mred\x1b[0m", ""),
        ("\x1b[31mred\x1b[m", ""),
        ("\x1b[1;38;5;196;4m", "1;4;38;5;196"),
        ("\x1b[38;2;1;2;3m\x1b[39m", ""),
        ("\x1b[48:2::10:20:30m", "48;2;10;20;30"),
        ("\x1b[1;2;3;9m\x1b[22;23m", "9"),
        ("\x1b[38;5;999m\x1b[38m\x1b[2K\x1b]0;31m\x07", ""),
    ],
)
def test_a_window_in_the_middle_knows_the_colours_in_force(printed: str, colours: str):
    output = output_of(printed.encode() + b"\n", b"x" * 100_000 + b"\n" + numbered(200_000), outcome="succeeded")
    for first in (1, 150_000):
        assert sorted(read_lines(open_index(output, FOREVER), first, 1).colours.split(";")) == sorted(colours.split(";"))


def test_an_answer_of_long_lines_has_fewer_of_them():
    output = output_of(b"".join(b"x" * (LONGEST - 1) + b"\n" for _ in range(500)), outcome="succeeded")
    assert 1 <= len(texts(output, 0, 500)) < 100


def test_offsets_are_found_among_lines():
    data = numbered(200_000)
    for outcome in ("", "succeeded"):
        Output.objects.all().delete()
        index = open_index(output_of(data, outcome=outcome))
        for offset in (0, 6, 7, 1_000_000, SEGMENT, len(data) - 1):
            assert line_index.line_at(index, offset) == data.count(b"\n", 0, offset)


def test_landmarks_across_segments_have_the_numbers_of_their_lines():
    filler = b"#1 0.5 " + b"x" * 93 + b"\n"
    data = b"#1 [1/2] RUN a\n" + filler * 20_000 + b"#1 DONE 1.5s\n\n#2 exporting to image\n#2 exporting layers\n" + filler * 20_000
    output = output_of(data + b"#2 ERROR: failed\n", outcome="failed")
    at = int(NOON.timestamp() * 1000)
    assert list(all_landmarks(open_index(output, FOREVER))) == [
        Landmark(0, "begin", "#1", "[1/2] RUN a", at),
        Landmark(20_001, "done", "#1", "1.5s", at),
        Landmark(20_003, "begin", "#2", "exporting to image", at),
        Landmark(40_005, "failed", "#2", ": failed", at),
        Landmark(40_005, "error", "", "", at),
    ]


def test_a_step_that_prints_thousands_of_headings_is_not_kept_in_the_index():
    output = output_of(b"#1 [a]\n" * 100_000, outcome="succeeded")
    assert len(list(all_landmarks(open_index(output, FOREVER)))) <= 500


def test_retention_takes_the_index_with_the_output(settings, tmp_path: Path):
    from logs.archive import clear, mark_removed

    output = output_of(b"STEP 1/1: RUN secret\n", outcome="succeeded")
    complete(output)
    mark_removed(output)
    clear(output)
    assert not OutputSegment.objects.exists()
