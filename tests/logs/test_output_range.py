"""Ranges of a resource of known size."""

import pytest

from logs import byte_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=0-99", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=9-", (9, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=-1", (9, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes = 3 - 5", (3, 6)),
        ("", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-3", None),
        ("bytes=a-b", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=²-3", None),
    ],
)
def test_it_reads_a_range(header: str, wanted: tuple[int, int] | None):
    assert byte_range.parse(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-"])
def test_it_refuses_a_range_beyond_the_end(header: str):
    with pytest.raises(byte_range.Unsatisfiable):
        byte_range.parse(header, 10)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_nothing_of_an_empty_resource_can_be_had(header: str):
    with pytest.raises(byte_range.Unsatisfiable):
        byte_range.parse(header, 0)
