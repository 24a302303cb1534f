"""What a step prints, on disk: from the first byte on, at most as much as the portal stores; what comes beyond is counted.

Standard library only, as all of `local_build`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_TAIL_BYTES = 1 << 16


class Checksum:
    """Count and POSIX `cksum` (CRC-32, highest bit first, then the length) of a stream."""

    def __init__(self) -> None:
        self.length, self._crc = 0, 0xFFFFFFFF

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.length += len(data)
        self._crc = zlib.crc32(data.translate(_REVERSED), self._crc)

    def value(self) -> int:
        """What `cksum` prints for all bytes so far."""
        size = self.length.to_bytes((self.length.bit_length() + 7) // 8, "little")
        return int(f"{zlib.crc32(size.translate(_REVERSED), self._crc):032b}"[::-1], 2)


class StepLog:
    """<step>.log. The file holds the first bytes that the step printed and no others: once one is left out, so is all the rest."""

    def __init__(self, path: Path, room: int | None) -> None:
        """`room`: how many bytes may be written, None for all. Raises OSError."""
        self._file = path.open("ab", buffering=0)
        self.room = room
        self.kept = Checksum()  # of what is in the file
        self.cut = 0  # bytes printed beyond what is in the file
        self.tail = b""  # the last bytes printed, whether kept or not
        self.error: OSError | None = None  # why the file could not take more

    def add(self, data: bytes) -> None:
        """Take in what the step printed next."""
        self.tail = (self.tail + data)[-_TAIL_BYTES:]
        allowed = data if self.room is None else data[: self.room]
        kept = 0 if self.cut else self._write(allowed)
        self.kept.add(data[:kept])
        self.cut += len(data) - kept
        if self.room is not None:
            self.room -= kept

    def _write(self, data: bytes) -> int:
        """Write as much as goes; returns how many bytes that was."""
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += self._file.write(view[written:]) or 0
        except OSError as error:
            self.error = error
        return written

    def report(self) -> dict[str, int]:
        """Count and checksum of what can be read, and, where there is more, how many bytes were printed and not kept."""
        return {"bytes": self.kept.length, "cksum": self.kept.value()} | ({"cut": self.cut} if self.cut else {})

    def close(self) -> None:
        """Close the file."""
        self._file.close()
