"""POSIX `cksum` over a stream, resumable from one integer.

POSIX (https://pubs.opengroup.org/onlinepubs/9799919799/utilities/cksum.html) defines a CRC-32 that takes each byte's highest bit
first, starts from 0, appends the length (lowest byte first, no leading zeros) and inverts the result. zlib's CRC-32 has the same
polynomial with the bits the other way round and inverts its value at both ends: it does the work, over bytes with reversed bits.
"""

from __future__ import annotations

import zlib

#: Each byte with its bits in reverse order.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
#: The state before the first byte, as a row of the database has it: zlib inverts on entry, so the register's 0 is this inverted.
_INVERT = 0xFFFFFFFF


def update(state: int, data: bytes) -> int:
    """Return the state after `data`; the state before the first byte is 0. States are 32-bit and may be stored."""
    return zlib.crc32(data.translate(_REVERSED), state ^ _INVERT) ^ _INVERT


def finish(state: int, length: int) -> int:
    """Return what `cksum` prints for the `length` bytes that led to `state`."""
    size = length.to_bytes((length.bit_length() + 7) // 8, "little")
    return int(f"{update(state, size) ^ _INVERT:032b}"[::-1], 2)
