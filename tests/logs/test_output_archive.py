"""Finished output moves to the storage and reads the same from there."""

import random
import subprocess
from pathlib import Path

import pytest
from django.core.files.storage import storages

from logs import archive as archiving
from logs import reading
from logs.archive import ArchiveError, archive, discard
from logs.models import Output, OutputChunk
from logs.output import Recorder, read

pytestmark = pytest.mark.django_db


@pytest.fixture
def storage(settings, tmp_path: Path) -> Path:
    """The default storage is this folder."""
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "output")}}
    settings.STORAGES = {**settings.STORAGES, "default": folder}
    return tmp_path / "output"


def closed(data: bytes, run: int = 1, pieces: int = 7) -> Output:
    recorder, rng = Recorder(run, ("build",), []), random.Random(run)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(pieces))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        recorder.append("build", data[start:end], str(end))
    recorder.close("succeeded")
    return Output.objects.get(run_id=run)


def sample(size: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(size // 7 + 1))[:size]


@pytest.mark.parametrize("size", [1, 1000, 1 << 20, (1 << 20) + 1, 3_500_000])
def test_it_reads_the_same_from_the_archive(storage: Path, size: int):
    data = sample(size)
    output = closed(data)
    assert archive(output)
    assert b"".join(read(output)) == data
    assert not OutputChunk.objects.exists()


def test_zcat_reads_the_file(storage: Path):
    data = sample(2_500_000)
    output = closed(data)
    archive(output)
    assert subprocess.run(["zcat", storage / output.archive], capture_output=True, check=True).stdout == data


def test_each_member_holds_a_mebibyte(storage: Path):
    output = closed(sample(2_500_000))
    archive(output)
    assert [offset for offset, _ in output.frames] == [0, 1 << 20, 2 << 20]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_any_range_is_read(storage: Path, archived: bool, seed: int):
    rng, data = random.Random(seed), sample(2_500_000)
    output = closed(data, pieces=40)
    if archived:
        archive(output)
    start, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    assert b"".join(read(output, start, end)) == data[start:end]


def test_a_range_decompresses_only_what_it_touches(storage: Path, monkeypatch: pytest.MonkeyPatch):
    output = closed(random.Random(1).randbytes(5 << 20))
    archive(output)
    reads = []
    original = reading._decompress

    def counting(file):
        for data in original(file):
            reads.append(len(data))
            yield data

    monkeypatch.setattr(reading, "_decompress", counting)
    assert len(b"".join(read(output, (4 << 20) + 10, (4 << 20) + 20))) == 10
    assert sum(reads) <= 128 << 10


def test_reading_goes_on_when_the_output_is_archived_meanwhile(storage: Path):
    data = sample(5_000_000)
    output = closed(data, pieces=50)
    reading = read(Output.objects.get(pk=output.pk))
    begun = next(reading)
    assert archive(output)
    assert begun + b"".join(reading) == data


def test_an_open_output_stays(storage: Path):
    Recorder(1, ("build",), []).append("build", b"x", "1")
    assert not archive(Output.objects.get(run_id=1))
    assert OutputChunk.objects.exists()


def test_an_empty_output_needs_no_file(storage: Path):
    assert not archive(closed(b""))
    assert not storage.exists()


def test_archiving_again_does_nothing(storage: Path):
    output = closed(b"bytes")
    assert [archive(output), archive(output)] == [True, False]


def test_a_storage_that_fails_leaves_the_chunks(storage: Path):
    storage.write_text("a file where the folder should be")
    output = closed(b"bytes")
    with pytest.raises(ArchiveError, match="could not be archived"):
        archive(output)
    assert b"".join(read(Output.objects.get(pk=output.pk))) == b"bytes"


def test_what_a_crash_left_is_removed_by_the_next_attempt(storage: Path, monkeypatch: pytest.MonkeyPatch):
    output = closed(b"bytes")
    monkeypatch.setattr(archiving.timezone, "now", lambda: 1 / 0)  # dies between file and row
    with pytest.raises(ZeroDivisionError):
        archive(output)
    monkeypatch.undo()
    assert b"".join(read(Output.objects.get(pk=output.pk))) == b"bytes"
    assert archive(output)
    assert [path.name for path in storage.rglob("*.gz")] == [output.archive.split("/")[-1]]


def test_of_two_that_archive_at_once_one_wins_and_its_file_stays(storage: Path, monkeypatch: pytest.MonkeyPatch):
    data = sample(100_000)
    output = closed(data)
    compress = archiving._compress

    def overtaken(pieces, file):
        monkeypatch.setattr(archiving, "_compress", compress)
        assert archive(Output.objects.get(pk=output.pk))
        return compress(pieces, file)

    monkeypatch.setattr(archiving, "_compress", overtaken)
    with pytest.raises(ArchiveError):
        archive(output)
    output.refresh_from_db()
    assert b"".join(read(output)) == data
    assert len(list(storage.rglob("*.gz"))) == 1


def test_missing_bytes_are_not_archived(storage: Path):
    output = closed(b"bytes")
    OutputChunk.objects.all().delete()
    with pytest.raises(ArchiveError, match="missing at 0"):
        archive(output)


def test_a_file_that_is_gone_is_told(storage: Path):
    output = closed(b"bytes")
    archive(output)
    storages["default"].delete(output.archive)
    with pytest.raises(ArchiveError, match="could not be read"):
        b"".join(read(output))


@pytest.mark.parametrize("archived", [False, True])
def test_a_discarded_output_leaves_nothing(storage: Path, archived: bool):
    output = closed(b"bytes")
    if archived:
        archive(output)
    discard(output)
    assert not Output.objects.exists()
    assert not OutputChunk.objects.exists()
    assert not list(storage.rglob("*.gz"))


def test_closed_outputs_wait_to_be_archived_the_oldest_first(storage: Path):
    first, second = closed(b"first", run=2), closed(b"second", run=1)
    closed(b"", run=3)
    Recorder(4, ("build",), []).append("build", b"open", "1")
    assert list(Output.objects.to_archive()) == [first, second]
    archive(first)
    assert list(Output.objects.to_archive()) == [second]
