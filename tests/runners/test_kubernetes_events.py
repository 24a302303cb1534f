"""Events as a cluster of version 1.35 serves them, of both generations of the API, as notices."""

from datetime import UTC, datetime

from runners.backends.base import Notice
from runners.backends.kubernetes_events import read

CLASSIC = {
    "metadata": {"name": "run-x.18a", "uid": "u1", "creationTimestamp": "2026-01-02T03:04:05Z"},
    "involvedObject": {"kind": "Pod", "name": "run-x", "uid": "p1", "fieldPath": "spec.initContainers{clone}"},
    "reason": "BackOff",
    "message": "Back-off pulling image  \n builder:1",
    "type": "Warning",
    "count": 4,
    "firstTimestamp": "2026-01-02T03:04:05Z",
    "lastTimestamp": "2026-01-02T03:05:00Z",
}
SERIES = {
    "metadata": {"name": "run-x.18b", "uid": "u2", "creationTimestamp": "2026-01-02T03:04:05Z"},
    "involvedObject": {"kind": "Pod", "name": "run-x", "uid": "p1"},
    "reason": "FailedScheduling",
    "message": "0/1 nodes are available",
    "type": "Warning",
    "eventTime": "2026-01-02T03:04:05.123456Z",
    "series": {"count": 3, "lastObservedTime": "2026-01-02T03:09:05.5Z"},
    "firstTimestamp": None,
    "lastTimestamp": None,
}


def test_a_repeated_event_tells_first_and_last_time_count_and_container():
    assert read(CLASSIC) == Notice(
        uid="u1",
        at=datetime(2026, 1, 2, 3, 5, tzinfo=UTC),
        since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        reason="BackOff",
        message="Back-off pulling image builder:1",
        about="clone",
        count=4,
        warning=True,
    )


def test_the_newer_generation_counts_in_its_series():
    found = read(SERIES)
    assert (found.count, found.at.minute, found.since.microsecond, found.about) == (3, 9, 123456, "pod")


def test_an_event_that_says_next_to_nothing_is_read_too():
    bare = {"metadata": {"uid": "u3"}, "involvedObject": {"kind": "Job", "uid": "j1"}}
    found = read(bare)
    assert (found.reason, found.message, found.count, found.warning, found.about) == ("", "", 1, False, "job")
