"""Output as the kubelet serves it: complete, byte for byte, from wherever reading stopped."""

import time
from dataclasses import replace

import pytest

from runners.backends.base import Unreachable
from tests.support.cluster import DOCKERFILE, SECRETS, Workshop, cksum, follow_to_end, read_all, wait_until

pytestmark = pytest.mark.needs_cluster

LINES = 600_000
#: Prints LINES lines of 92 bytes, as they are with buildah; BuildKit puts "#5 1.234 " before each.
TEXT = "of a loud build 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijkl"
LOUD = (
    f"RUN /bin/busybox awk 'BEGIN {{ for (i = 1; i <= {LINES}; i++) printf \"line %07d {TEXT}\\n\", i }}'"
    # The pause is for buildah, which drops what its pipe still holds when a step ends (docs/decisions/0013-rotated-logs.md).
    " && /bin/busybox printf 'no newline at the end' && /bin/busybox sleep 1\n"
)


def loud_output() -> bytes:
    line = b"line %07d " + TEXT.encode() + b"\n"
    return b"".join(line % number for number in range(1, LINES + 1)) + b"no newline at the end"


def test_600000_lines_are_read_byte_for_byte(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE + LOUD}, builder="buildah")
    started = time.monotonic()
    built = shop.build(spec)
    seconds = time.monotonic() - started
    printed = built.printed("build")
    print(f"\n{len(printed) / 1e6:.1f} MB in {seconds:.1f} s, {len(built.pieces['build'])} pieces")
    assert cksum(printed) == [built.report("build")["cksum"], built.report("build")["bytes"]]
    assert loud_output() in printed
    assert all(piece.missing is None for piece in built.pieces["build"])


def test_reading_goes_on_at_any_cursor_without_a_byte_lost_or_twice(shop: Workshop):
    odd = (
        "RUN /bin/busybox seq 1 300; /bin/busybox head -c 100000 /dev/zero | /bin/busybox tr '\\0' x;"
        " echo; echo; /bin/busybox printf end\n"
    )
    spec = shop.spec({"Dockerfile": DOCKERFILE + odd}, builder="buildah")
    shop.backend.launch(spec, SECRETS)
    built = follow_to_end(shop.backend, spec)
    whole = built.printed("build")
    assert cksum(whole) == [built.report("build")["cksum"], built.report("build")["bytes"]]
    read = b""
    for piece in built.pieces["build"]:
        read += piece.data
        again = b"".join(more.data for more in read_all(shop.backend, spec, "build", piece.cursor))
        assert read + again == whole


def test_a_line_comes_out_within_moments(shop: Workshop):
    clock = "RUN for i in 1 2 3 4 5 6 7 8 9 10; do /bin/busybox date +%s.%N; /bin/busybox sleep 0.3; done\n"
    spec = shop.spec({"Dockerfile": DOCKERFILE + clock}, builder="buildah")
    shop.backend.launch(spec, SECRETS)
    wait_until(shop.backend, spec, lambda state: any(c.name == "build" and c.started_at for c in state.containers))
    late = [time.time() - piece.printed_at.timestamp() for piece in shop.backend.stream(spec, "build", "")]
    print("\nms from the container's runtime to a Piece:", [round(1000 * seconds) for seconds in late])
    assert sorted(late)[len(late) // 2] < 1


def test_a_container_that_has_not_started_can_not_be_read_yet(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, builder="buildah")
    shop.backend.launch(spec, SECRETS)
    with pytest.raises(Unreachable):
        list(shop.backend.stream(spec, "push", ""))
    shop.backend.delete(spec)


def test_what_is_left_of_a_container_that_never_ran_is_nothing(shop: Workshop):
    spec = shop.spec({"Dockerfile": DOCKERFILE}, commit="1" * 40)
    shop.build(replace(spec, builder="buildah"))
    assert list(shop.backend.stream(spec, "build", "")) == []
