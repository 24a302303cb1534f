"""Storing what runs print: in order, exactly once, masked, resumable, verified."""

import random
import subprocess

import pytest

from logs import cksum, output
from logs.models import Output, OutputChunk, OutputStream
from logs.output import Recorder, StaleWriter, read

pytestmark = pytest.mark.django_db
SECRET = "ghp_Kx91bTzQ/88+Wm"
CONTAINERS = ("clone", "build", "push")


def recorder(run: int = 1, secrets: list[str] | None = None, limit: int = output.DEFAULT_LIMIT) -> Recorder:
    return Recorder(run, CONTAINERS, [SECRET] if secrets is None else secrets, limit)


def stored(run: int = 1) -> bytes:
    return b"".join(read(Output.objects.get(run_id=run)))


def report(data: bytes) -> tuple[int, int]:
    return len(data), int(subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.split()[0])


def test_it_stores_what_is_appended_in_order():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.append("clone", b"done\n", "b")
    assert stored() == b"Cloning\ndone\n"


def test_it_says_where_to_read_on():
    recorder().append("clone", b"Cloning\n", "a")
    assert (recorder().cursor("clone"), recorder().cursor("build")) == ("a", "")


def test_it_puts_one_container_after_the_other():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", *report(b"Cloning\n"))
    one.append("build", b"STEP 1\n", "b")
    assert stored() == b"Cloning\nSTEP 1\n"
    assert [stream.start for stream in OutputStream.objects.filter(container__in=("clone", "build"))] == [0, 8]


def test_it_knows_which_containers_have_ended():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", None, None)
    assert [recorder().ended(name) for name in CONTAINERS] == [True, False, False]


def test_carriage_returns_that_were_left_out_on_the_way_are_no_gap():
    one = recorder()
    one.append("clone", b"one\r", "a")
    one.append("clone", b"\ntwo\n50%\r100%\n", "b")
    one = recorder()  # another goes on with the counts
    one.append("clone", b"three\n", "c")
    printed = b"one\r\ntwo\r\n50%\r100%\nthree\r\n"
    one.end("clone", *report(printed), bare=report(printed.replace(b"\r", b"")))
    detail = "clone: 24 bytes (2 carriage returns at ends of lines left out)"
    assert one.close("succeeded") == (Output.VERIFIED, detail)


def test_another_byte_missing_besides_carriage_returns_is_a_gap():
    one = recorder()
    one.append("clone", b"one\nto\n", "a")
    printed = b"one\r\ntwo\r\n"
    one.end("clone", *report(printed), bare=report(printed.replace(b"\r", b"")))
    assert one.close("succeeded")[0] == Output.GAP


def test_ending_a_container_twice_keeps_the_first_report():
    one = recorder()
    one.end("clone", 0, 4294967295)
    one.end("clone", None, None)
    assert OutputStream.objects.get(container="clone").expected_bytes == 0


def test_it_refuses_bytes_of_a_container_that_has_ended():
    one = recorder()
    one.end("clone", None, None)
    with pytest.raises(ValueError, match="clone"):
        one.append("clone", b"late", "x")


def test_a_container_that_begins_ends_those_before_it():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.append("build", b"STEP 1\n", "b")
    assert recorder().ended("clone")
    assert one.close("failed") == (
        Output.UNPROVEN,
        "clone could not report what it printed; build could not report what it printed",
    )


def test_several_pieces_come_as_one_row():
    one = recorder()
    one.append_many("clone", [output._Piece(b"%d\n" % number, str(number)) for number in range(100)])
    assert OutputChunk.objects.count() == 1
    assert stored() == b"".join(b"%d\n" % number for number in range(100))
    assert recorder().cursor("clone") == "99"


def test_large_pieces_are_cut_into_rows():
    data = random.Random(1).randbytes(3 * output.CHUNK + 17)
    recorder(secrets=[]).append("clone", data, "a")
    assert OutputChunk.objects.count() == 4
    assert stored() == data


# Masking


def test_secrets_never_reach_a_row():
    one = recorder()
    one.append("clone", f"https://me:{SECRET}@host\n".encode(), "a")
    assert stored() == b"https://me:***@host\n"


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_a_secret_that_is_cut_in_two_is_masked(cut: int):
    one, raw = recorder(), f"token {SECRET}\n".encode()
    one.append("clone", raw[: 6 + cut], "a")
    one.append("clone", raw[6 + cut :], "b")
    assert stored() == b"token ***\n"


def test_bytes_that_may_begin_a_secret_wait_and_the_cursor_with_them():
    one = recorder()
    one.append("clone", b"first\n", "a")
    one.append("clone", b"token ghp_", "b")
    assert stored() == b"first\ntoken "
    assert recorder().cursor("clone") == "a"


def test_a_stream_that_broke_goes_on_with_the_same_recorder_after_the_bytes_that_it_holds():
    one, raw = recorder(), f"token {SECRET}\n".encode()
    one.append("clone", raw[:10], "10")
    assert one.cursor("clone") == "10"
    one.append("clone", raw[10:], "end")
    one.end("clone", *report(raw))
    assert stored() == b"token ***\n"
    assert one.close("succeeded")[0] == Output.VERIFIED


def test_held_bytes_are_stored_when_the_container_ends():
    one, raw = recorder(), b"token ghp_"
    one.append("clone", raw, "a")
    one.end("clone", *report(raw))
    assert stored() == raw
    assert one.close("failed")[0] == Output.VERIFIED


def test_held_bytes_alone_are_stored_when_the_output_is_closed():
    one = recorder()
    one.append("clone", b"ghp_", "a")
    one.close("failed")
    assert stored() == b"ghp_"


def test_half_a_secret_at_the_end_is_masked():
    one = recorder()
    one.append("clone", f"token {SECRET[:12]}".encode(), "a")
    one.end("clone", None, None)
    assert stored() == b"token ***"


# Verdicts


def test_the_same_count_and_checksum_is_verified():
    one, raw = recorder(), f"Cloning with {SECRET}\n".encode()
    one.append("clone", raw, "a")
    one.end("clone", *report(raw))
    assert one.close("succeeded") == (Output.VERIFIED, f"clone: {len(raw)} bytes")


def test_a_container_that_printed_nothing_can_be_verified():
    one = recorder()
    one.end("clone", *report(b""))
    assert one.close("succeeded")[0] == Output.VERIFIED


def test_fewer_bytes_than_reported_are_a_gap():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", *report(b"Cloning\nlost\n"))
    assert one.close("succeeded") == (Output.GAP, "clone: 5 of 13 bytes are missing")


def test_more_bytes_than_reported_are_a_gap():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", *report(b"Clon"))
    assert one.close("succeeded") == (Output.GAP, "clone: 4 more bytes were read than it reported (4)")


def test_other_bytes_than_reported_are_a_gap():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", *report(b"cloning\n"))
    assert one.close("succeeded") == (Output.GAP, "clone: its 8 bytes are not the ones it reported (checksums differ)")


def test_a_gap_is_named_with_its_place_and_size_and_nothing_is_put_in_the_bytes():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.append("clone", b"done\n", "b", missing=5)
    one.end("clone", *report(b"Cloning\nlost\ndone\n"))
    assert stored() == b"Cloning\ndone\n"
    assert OutputStream.objects.get(container="clone").gaps == [[8, 5]]
    assert one.close("succeeded") == (Output.GAP, "clone: 5 of 18 bytes are missing (5 at byte 8)")


def test_a_gap_of_unknown_size_without_a_report_is_a_gap():
    one = recorder()
    one.append("clone", b"done\n", "b", missing=0)
    one.end("clone", None, None)
    assert one.close("failed") == (Output.GAP, "clone: bytes are missing (an unknown number at byte 0)")


def test_the_size_of_the_only_gap_follows_from_the_report():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.append("clone", b"done\n", "b", missing=0)
    one.end("clone", *report(b"Cloning\nlost\ndone\n"))
    assert one.close("succeeded") == (Output.GAP, "clone: 5 of 18 bytes are missing (5 at byte 8)")


def test_the_sizes_of_two_gaps_do_not():
    one = recorder()
    one.append("clone", b"Cloning\n", "a", missing=0)
    one.append("clone", b"done\n", "b", missing=0)
    one.end("clone", *report(b"Cloning\nlost\ndone\n"))
    where = "an unknown number at byte 0, an unknown number at byte 8"
    assert one.close("succeeded") == (Output.GAP, f"clone: 5 of 18 bytes are missing ({where})")


def test_no_report_is_unproven():
    one = recorder()
    one.append("clone", b"Cloning\n", "a")
    one.end("clone", None, None)
    assert one.close("failed") == (Output.UNPROVEN, "clone could not report what it printed")


def test_a_gap_weighs_more_than_a_missing_report():
    one = recorder()
    one.end("clone", None, None)
    one.end("build", *report(b"x"))
    assert one.close("failed")[0] == Output.GAP


def test_a_container_that_never_ran_does_not_count():
    one = recorder()
    one.append("clone", b"refused\n", "a")
    one.end("clone", *report(b"refused\n"))
    assert one.close("failed")[0] == Output.VERIFIED


def test_a_run_of_which_no_container_ran_is_unproven():
    assert recorder().close("cancelled") == (Output.UNPROVEN, "no container ran")


# Closing


def test_closing_keeps_outcome_and_time():
    recorder().close("cancelled")
    row = Output.objects.get(run_id=1)
    assert (row.outcome, row.verdict, row.closed_at is not None) == ("cancelled", Output.UNPROVEN, True)


def test_closing_again_changes_nothing():
    one = recorder()
    one.append("clone", b"x\n", "a")
    first = one.close("failed")
    closed_at = Output.objects.get(run_id=1).closed_at
    assert one.close("succeeded") == first == recorder().close("cancelled")
    row = Output.objects.get(run_id=1)
    assert (row.outcome, row.closed_at) == ("failed", closed_at)


@pytest.mark.parametrize("fresh", [True, False])
def test_nothing_is_appended_after_closing(fresh: bool):
    one = recorder()
    one.close("failed")
    with pytest.raises(StaleWriter):
        (recorder() if fresh else one).append("clone", b"late\n", "a")


def test_a_run_that_is_gone_makes_the_writer_stale():
    one = recorder()
    Output.objects.all().delete()
    with pytest.raises(StaleWriter):
        one.append("clone", b"x\n", "a")


# Two writers


def test_the_second_of_two_writers_is_stale():
    one, two = recorder(), recorder()
    one.append("clone", b"first\n", "a")
    with pytest.raises(StaleWriter):
        two.append("clone", b"first\n", "a")
    assert stored() == b"first\n"


def test_a_stale_writer_stays_stale():
    one, two = recorder(), recorder()
    one.append("clone", b"first\n", "a")
    for _ in range(2):
        with pytest.raises(StaleWriter):
            two.append("clone", b"other\n", "b")
    assert stored() == b"first\n"


def test_a_stale_writer_can_neither_end_nor_close():
    one, two, three = recorder(), recorder(), recorder()
    one.append("clone", b"first\n", "a")
    with pytest.raises(StaleWriter):
        two.end("clone", None, None)
    with pytest.raises(StaleWriter):
        three.close("failed")
    assert Output.objects.get(run_id=1).closed_at is None


def test_runs_do_not_disturb_each_other():
    one, two = recorder(1), recorder(2)
    one.append("clone", b"one\n", "a")
    two.append("clone", b"two\n", "a")
    assert (stored(1), stored(2)) == (b"one\n", b"two\n")


# Limit


def test_bytes_that_the_backend_did_not_keep_are_told_as_cut():
    one, raw = recorder(), b"0123456789"
    one.append("clone", raw, "10")
    one.end("clone", *report(raw), cut=7)
    one.end("clone", *report(raw), cut=7)
    assert one.close("succeeded") == (Output.GAP, "cut at byte 10: 7 more bytes were printed and not stored")


def test_bytes_beyond_the_limit_are_counted_and_not_stored():
    one, raw = recorder(limit=10), b"0123456789abcdef\n"
    one.append("clone", raw, "a")
    one.append("clone", raw, "b")
    one.end("clone", *report(raw + raw))
    assert stored() == raw[:10]
    assert one.close("succeeded") == (Output.GAP, "cut at byte 10: 24 more bytes were printed and not stored")
    stream = OutputStream.objects.get(container="clone")
    assert cksum.finish(stream.crc, stream.raw_bytes) == stream.expected_cksum


# Crashes anywhere


def printed(rng: random.Random) -> bytes:
    """Text in which whole secrets, beginnings of secrets and encoded secrets stand, with and without line ends."""
    words = [SECRET, SECRET[:5], SECRET[:12], SECRET.encode().hex(), "ghp_", "\n", " ", "STEP 1/9: RUN make", "é漢🙂", "\r 10 %"]
    return "".join(rng.choice(words) for _ in range(rng.randrange(1, 60))).encode()


def cut(rng: random.Random, data: bytes) -> list[tuple[bytes, int]]:
    cuts = sorted({rng.randrange(len(data) + 1) for _ in range(rng.randrange(12))} | {0, len(data)})
    return [(data[a:b], b) for a, b in zip(cuts, cuts[1:], strict=False)]


@pytest.mark.parametrize("seed", range(60))
def test_it_is_the_same_after_crashes_at_any_place(seed: int):
    rng = random.Random(seed)
    raw = {name: printed(rng) for name in CONTAINERS}
    calm = recorder(1)
    for name in CONTAINERS:
        calm.append(name, raw[name], "end")
        calm.end(name, *report(raw[name]))
    torn = recorder(2)
    for name in CONTAINERS:
        done = 0
        while done < len(raw[name]):
            done = int(torn.cursor(name) or 0)
            for data, offset in cut(rng, raw[name][done:]):
                torn.append(name, data, str(done + offset))
                if rng.random() < 0.2:
                    torn = recorder(2)
                    break
            else:
                done = len(raw[name])
        torn.end(name, *report(raw[name]))
    assert stored(2) == stored(1)
    assert torn.close("succeeded")[0] == calm.close("succeeded")[0] == Output.VERIFIED


def test_a_gap_that_is_noticed_again_after_a_crash_is_one_gap():
    one = recorder()
    one.append("clone", b"before\n", "7")
    one.append("clone", b"after ghp_", "20", missing=3)
    two = recorder()
    assert two.cursor("clone") == "7"
    two.append("clone", b"after ghp_ it\n", "24", missing=3)
    assert stored() == b"before\nafter ghp_ it\n"
    assert OutputStream.objects.get(container="clone").gaps == [[7, 3]]


def test_a_gap_that_opens_over_what_was_stored_beyond_the_cursor_keeps_it():
    one = recorder()
    one.append("clone", b"before\n", "7")
    one.append("clone", b"stored ghp_", "18")
    recorder().append("clone", b"later\n", "99", missing=0)
    assert stored() == b"before\nstored later\n"
    assert OutputStream.objects.get(container="clone").gaps == [[14, None]]
