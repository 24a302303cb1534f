"""Search over the whole output, as its text is read."""

import re
from pathlib import Path

import pytest

from logs import search as searching
from logs.archive import archive
from logs.line_index import LONGEST, open_index
from logs.models import Output
from logs.output import Recorder
from logs.search import BadExpression, Matcher, search

pytestmark = pytest.mark.django_db


def output_of(*pieces: bytes, outcome: str = "", secrets: tuple[str, ...] = ()) -> Output:
    recorder = Recorder(1, ("build",), list(secrets))
    for cursor, piece in enumerate(pieces):
        recorder.append("build", piece, str(cursor + 1))
    if outcome:
        recorder.close(outcome)
    return Output.objects.get(run_id=1)


def found(output: Output, query: str, first: int = 0, offset: int = 0, **flags: bool) -> list[int]:
    lines: list[int] = []
    last = None
    for last in search(open_index(output), Matcher(query, **flags), first, offset):
        lines += last.lines
    assert last is not None
    assert last.done
    assert last.total == len(lines)
    return lines


@pytest.mark.parametrize(
    ("query", "flags", "lines"),
    [
        ("step", {}, [0, 1, 3]),
        ("step", {"case": True}, [1, 3]),
        ("STEP", {"case": True}, [0]),
        ("größe", {}, [2]),
        ("GRÖSSE", {}, []),
        ("GRÖßE", {}, [2]),
        ("step", {"word": True}, [0, 1]),
        ("steps", {"word": True}, [3]),
        ("1/2: run", {}, [0]),
        ("a.b", {}, []),
        ("ste.", {}, []),
        ("ste.", {"regex": True}, [0, 1, 3]),
        ("^step", {"regex": True}, [0, 3]),
        ("two$", {"regex": True}, [1]),
        ("Größe|run", {"regex": True}, [0, 2]),
        ("step", {"regex": True, "word": True}, [0, 1]),
        ("x*", {"regex": True}, [0, 1, 2, 3, 4]),
        ("[^q]*two", {"regex": True}, [1]),
        ("two\\s+größe", {"regex": True}, []),
    ],
)
def test_it_finds_lines(query: str, flags: dict[str, bool], lines: list[int]):
    output = output_of("STEP 1/2: RUN\r\na step two\r\nGröße\nsteps\n\n".encode())
    assert found(output, query, **flags) == lines


@pytest.mark.parametrize("cut", range(1, 24))
def test_what_is_cut_across_pieces_is_found(cut: int):
    data = "中文 \x1b[31mer\x1b[1mror\x1b[0m: größe\n".encode()
    output = output_of(b"first\n" + data[:cut], data[cut:])
    assert found(output, "error: GRÖßE") == found(output, "文 err") == found(output, "r: gr..e$", regex=True) == [1]


def test_a_large_output_is_searched_without_a_seam():
    pattern = b"0123456789 needle 0123456789 needle\nhay\n"
    output = output_of(*[pattern * 8_000] * 6, outcome="succeeded")
    for flags in ({}, {"regex": True}, {"word": True}):
        progress = list(search(open_index(output), Matcher("NEEDLE", **flags)))
        lines = [line for each in progress for line in each.lines]
        assert lines == list(range(0, 40_000, 2))
        assert (progress[-1].total, progress[-1].done) == (48_000, True)


def test_all_are_counted_and_the_first_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "TOLD", 100)
    output = output_of(b"needle\n" * 300_000)
    answers = list(searching.search(open_index(output), Matcher("needle")))
    assert answers[-1].total == 300_000
    assert answers[-1].done


def test_escape_sequences_do_not_hide_a_match():
    output = output_of(b"\x1b]8;;http://e/\x1b\\fat\x1b[1;31mal\x1b[0m\x1b]8;;\x07: x\n\x1b[2K\x1b[31mfatal\x1b[m\n")
    assert found(output, "fatal: x") == [0]
    assert found(output, "^fatal", regex=True) == [0, 1]
    assert found(output, "31m") == found(output, "http") == []


def test_of_a_progress_bar_what_is_shown_is_found():
    output = output_of(b" 10%\r 50%\r100%\r\nnext\n")
    assert found(output, "10%") == []
    assert found(output, "100%") == [0]
    assert found(output, "next") == [1]


def test_an_unterminated_sequence_hides_its_own_line_only():
    assert found(output_of(b"\x1b]0;title\nvisible\n"), "visible") == [1]


def test_a_masked_secret_is_not_found():
    output = output_of(b"token hunter2-hunter2\n", secrets=("hunter2-hunter2",))
    assert found(output, "hunter2") == []
    assert found(output, "***") == [0]


def test_lines_that_are_cut_for_their_length_count_as_the_index_counts_them():
    output = output_of(b"x" * (3 * LONGEST) + b"needle\nneedle\n")
    lines = found(output, "needle")
    assert lines == [3, 4]


def test_it_goes_on_from_a_line():
    output = output_of(b"needle\n" * 10)
    assert found(output, "needle", 7, 7 * 7) == [7, 8, 9]


def test_an_archived_output_is_searched(settings, tmp_path: Path):
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "default": folder}
    output = output_of(b"x\n" * 700_000 + b"needle\n", outcome="succeeded")
    assert archive(output)
    assert found(Output.objects.get(pk=output.pk), "needle") == [700_000]


@pytest.mark.parametrize("query", ["(", "a{2000}", "\\1", "(?=x)", "[z-a]", "*"])
def test_an_expression_that_re2_does_not_take_is_refused(query: str):
    with pytest.raises(BadExpression, match=".+"):
        Matcher(query, regex=True)


def test_a_catastrophic_expression_takes_its_time_in_proportion():
    line = "a" * 10_000 + "!"
    assert list(Matcher("(a+)+$", regex=True).lines(f"{line}\n" * 50)) == []


def test_a_search_stops_in_time_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(searching, "SECONDS", -1)
    output = output_of(b"needle\n" * 200_000)
    *_, last = search(open_index(output), Matcher("needle"))
    assert (last.done, 0 < last.at < 200_000, last.offset) == (False, True, last.at * 7)


def test_more_searches_than_may_run_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch):
    index = open_index(output_of(b"x\n"))
    running = [search(index, Matcher("x")) for _ in range(searching.AT_ONCE)]
    assert not any(next(each).busy for each in running)
    assert [each.busy for each in search(index, Matcher("x"))] == [True]
    running[0].close()
    assert [each.busy for each in search(index, Matcher("x"))][-1] is False
    for each in running:
        each.close()


@pytest.mark.parametrize("printed", ["plain", "\x1b[31mred\x1b[0m", "\x1b(B", "\x1b", "old\rnew", "\x1bP1;2q\x1b\\x", "a\rb\rc\n"])
def test_text_without_sequences_has_the_same_number_of_lines(printed: str):
    text = searching.shown((printed + "\n" + printed).encode())
    assert text.count("\n") == (printed + "\n" + printed).count("\n")
    assert re.search(r"[\x1b]", text) is None
