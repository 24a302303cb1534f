"""Output that few expect, through the whole chain: stored byte for byte, or cut where the limit says, and said so."""

import re
from collections.abc import Iterator

import pytest

from tests.support.fault_site import Fault, Site, Stand
from tests.support.waiting import until

pytestmark = [pytest.mark.needs_cluster, pytest.mark.needs_mariadb, pytest.mark.faults]

LONG_LINE = 10 << 20
LIMIT = 100_000
#: What a step runs, and what must be in the output: buildah hands a step's bytes on as they are.
ODD = {
    "invalid-utf-8": (r"/bin/busybox printf 'caf\351 \377\376 \303( end\n'", b"caf\xe9 \xff\xfe \xc3( end\n"),
    "nul-bytes": (r"/bin/busybox printf 'a\000b\000\000c\n'", b"a\0b\0\0c\n"),
    "json-lines": (
        r"""/bin/busybox printf '{"log":"x\\n","stream":"stderr"}\n{"a":[1,2\n'""",
        b'{"log":"x\\n","stream":"stderr"}\n{"a":[1,2\n',
    ),
    "like-a-log-record": (
        r"/bin/busybox printf '2026-11-23T03:00:00.000000000Z stdout P half\n2026-11-23T03:00:00Z\n\n'",
        b"2026-11-23T03:00:00.000000000Z stdout P half\n2026-11-23T03:00:00Z\n\n",
    ),
    # The pause: the kubelet may rotate the log as soon as it has the line, and of a stream that was opened only then it is a gap.
    "a-10-mib-line": (
        f"/bin/busybox sleep 4; /bin/busybox head -c {LONG_LINE} /dev/zero | /bin/busybox tr '\\000' x; /bin/busybox echo",
        b"x" * LONG_LINE + b"\n",
    ),
    "carriage-returns": (r"/bin/busybox printf '1%%\r50%%\r\r 99%%\n\r100%%\n'", b"1%\r50%\r\r 99%\n\r100%\n"),
    "no-final-newline": (r"/bin/busybox printf 'no newline at the end'", b"no newline at the end"),
}


@pytest.fixture(scope="module")
def stand(place: Site) -> Iterator[Stand]:
    for name, (step, _) in ODD.items():
        # The pause: when a step ends, buildah with chroot isolation now and then loses what the pipe to it still holds.
        place.branch(name, f"RUN {step}; /bin/busybox sleep 1\n")
    with place.portal(build={"builder": "buildah"}) as made:
        made.portal.start_web()
        made.portal.start_watcher(Fault(0, constants={"runners.watcher.ARCHIVE_SECONDS": 1}))
        yield made


@pytest.fixture(scope="module")
def runs(stand: Stand) -> dict[str, tuple[int, int]]:
    """All of them at once: (event, run) by name."""
    return {name: stand.started(name) for name in ODD}


@pytest.mark.parametrize("name", ODD)
def test_odd_output_is_stored_byte_for_byte(stand: Stand, runs: dict[str, tuple[int, int]], name: str):
    event_id, run_id = runs[name]
    stand.audit(event_id)
    assert ODD[name][1] in stand.portal.output(run_id)
    until(lambda: stand.archived(event_id), 30, stand.portal.logs, every=0.5)
    stand.audit(event_id)


def test_carriage_returns_that_the_container_runtime_drops_at_line_ends_are_no_gap(stand: Stand):
    """containerd writes a line that ends in CR LF into its log without the CR; other runtimes keep it."""
    stand.site.branch("windows", r"RUN /bin/busybox printf 'one\r\ntwo\r\nthree\n'; /bin/busybox sleep 1" + "\n")
    event_id, run_id = stand.started("windows")
    event = stand.portal.ended(event_id)
    assert event["status"] == "3", event["reason"]
    known, stored = stand.portal.output_status(run_id), stand.portal.output(run_id)
    assert known["verdict"] == "verified", known
    if b"one\r\ntwo\r\nthree\n" not in stored:
        assert b"one\ntwo\nthree\n" in stored
        assert re.search(r"build: \d+ bytes \(2 carriage returns at ends of lines left out\)", known["verdict_detail"]), known


def test_output_over_the_limit_is_cut_there_and_the_rest_is_counted(place: Site):
    place.branch("verbose", "RUN /bin/busybox seq 1000000 1040000\n")
    with place.portal(output={"limit_bytes": LIMIT}, build={"builder": "buildah"}) as stand:
        stand.portal.start_web()
        stand.portal.start_watcher()
        event_id, run_id = stand.started("verbose")
        event = stand.portal.ended(event_id)
        assert event["status"] == "3", event["reason"]
        known = stand.portal.output_status(run_id)
        stored = stand.portal.output(run_id)
        raw = sum(stream["raw_bytes"] for stream in known["streams"])
        assert (known["size"], len(stored), known["not_stored"]) == (LIMIT, LIMIT, raw - LIMIT)
        assert known["verdict"] == "gap"
        assert f"cut at byte {LIMIT}: {raw - LIMIT} more bytes were printed and not stored" in known["verdict_detail"]
        assert [stream["verdict"] for stream in known["streams"]] == ["verified"] * len(known["streams"])
        whole = b"".join(stand.printed(event["job"]).values())
        assert whole.startswith(stored)


def test_a_gigabyte_over_the_limit_is_counted_to_the_last_byte(place: Site):
    """Also what the node threw away before it was read: the container's own count tells how much that was."""
    line = "a line of some length, that a gigabyte has many of; " * 20
    place.branch("gigabyte", f"RUN /bin/busybox yes '{line}' | /bin/busybox head -c 1000000000\n")
    with place.portal(output={"limit_bytes": LIMIT}, build={"builder": "buildah"}) as stand:
        stand.portal.start_web()
        stand.portal.start_watcher()
        event_id, run_id = stand.started("gigabyte")
        event = stand.portal.ended(event_id, 900)
        assert event["status"] == "3", event["reason"]
        known = stand.portal.output_status(run_id)
        assert (known["size"], known["verdict"]) == (LIMIT, "gap")
        lost = re.search(r"build: (\d+) of \d+ bytes are missing", known["verdict_detail"])
        read = sum(stream["raw_bytes"] for stream in known["streams"])
        assert known["not_stored"] == read - LIMIT
        assert read + int(lost[1] if lost else 0) > 1_000_000_000
