"""POSIX cksum, against coreutils."""

import random
import subprocess

import pytest

from logs import cksum


def coreutils(data: bytes) -> int:
    return int(subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.split()[0])


def ours(*pieces: bytes) -> int:
    state = 0
    for piece in pieces:
        state = cksum.update(state, piece)
    return cksum.finish(state, sum(map(len, pieces)))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 65535, 65536, 70001, 1 << 20])
def test_it_gives_the_number_that_coreutils_gives(size: int):
    data = random.Random(size).randbytes(size)
    assert ours(data) == coreutils(data)


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x80", b"\xff", b"\n"])
def test_it_counts_bytes_of_one_kind(byte: bytes):
    assert ours(byte * 300) == coreutils(byte * 300)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_same_however_the_bytes_are_cut(seed: int):
    rng = random.Random(seed)
    data = rng.randbytes(rng.randrange(5000))
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(20)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert ours(*pieces) == ours(data) == coreutils(data)


def test_its_state_is_a_32_bit_number_that_a_row_can_hold():
    state = cksum.update(0, b"\xff" * 1000)
    assert 0 <= state < 1 << 32
