"""`GET /job/{id}/output/` as text."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from logs.archive import archive
from logs.models import Output
from logs.output import Recorder
from runners.models import Run
from tests.support import rows

pytestmark = pytest.mark.django_db
TEXT = "Schritt 1 → fertig\r\n10 %\r20 %\r\n".encode() + b"\xff\xfe raw\n"


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create_user("reader"))
    return client


@pytest.fixture
def run() -> Run:
    return rows.run(rows.event(rows.repository(), status="2"), name="exporter-1")


def record(run: Run, data: bytes = TEXT, close: str = "") -> None:
    recorder = Recorder(run.pk, ("clone", "build"), [])
    if data:
        recorder.append("build", data, "1")
    if close:
        recorder.close(close)


def url(run: Run) -> str:
    return f"/job/{run.pk}/output/"


def body(answer) -> bytes:
    return b"".join(answer.streaming_content)


def test_it_gives_the_bytes_as_they_are(reader: Client, run: Run):
    record(run)
    answer = reader.get(url(run))
    assert (answer.status_code, body(answer)) == (200, TEXT)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Length"] == str(len(TEXT))
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "start", "end"), [("bytes=0-4", 0, 5), ("bytes=8-", 8, len(TEXT)), ("bytes=-3", len(TEXT) - 3, len(TEXT))]
)
def test_it_gives_a_range(reader: Client, run: Run, wanted: str, start: int, end: int):
    record(run)
    answer = reader.get(url(run), headers={"Range": wanted})
    assert (answer.status_code, body(answer)) == (206, TEXT[start:end])
    assert answer["Content-Range"] == f"bytes {start}-{end - 1}/{len(TEXT)}"
    assert answer["Content-Length"] == str(end - start)


def test_a_range_beyond_the_end_is_416_and_says_the_size(reader: Client, run: Run):
    record(run)
    answer = reader.get(url(run), headers={"Range": "bytes=1000-"})
    assert (answer.status_code, answer["Content-Range"]) == (416, f"bytes */{len(TEXT)}")
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("wanted", ["bytes=0-1,3-4", "lines=1-2", "nonsense"])
def test_a_range_it_does_not_know_is_ignored(reader: Client, run: Run, wanted: str):
    record(run)
    assert reader.get(url(run), headers={"Range": wanted}).status_code == 200


def test_head_tells_the_size_and_sends_nothing(reader: Client, run: Run):
    record(run)
    answer = reader.head(url(run))
    assert (answer.status_code, answer["Content-Length"], body(answer)) == (200, str(len(TEXT)), b"")


def test_an_output_that_grows_has_no_etag_and_is_not_kept(reader: Client, run: Run):
    record(run)
    answer = reader.get(url(run))
    assert (answer.get("ETag"), answer["Cache-Control"], answer["X-Output-Complete"]) == (None, "no-store", "false")


def test_a_finished_output_is_not_sent_twice(reader: Client, run: Run):
    record(run, close="succeeded")
    tag = reader.get(url(run))["ETag"]
    assert reader.get(url(run), headers={"If-None-Match": tag}).status_code == 304


def test_if_range_gives_the_range_of_the_same_output_only(reader: Client, run: Run):
    record(run, close="succeeded")
    tag = reader.get(url(run))["ETag"]
    assert reader.get(url(run), headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
    assert reader.get(url(run), headers={"Range": "bytes=0-1", "If-Range": '"another"'}).status_code == 200


def test_if_range_on_an_output_that_grows_gives_all(reader: Client, run: Run):
    record(run)
    assert reader.get(url(run), headers={"Range": "bytes=0-1", "If-Range": '"x"'}).status_code == 200


def test_headers_tell_the_verdict(reader: Client, run: Run):
    record(run, close="failed")
    answer = reader.get(url(run))
    assert (answer["X-Output-Complete"], answer["X-Output-Verdict"]) == ("true", Output.UNPROVEN)


def test_it_can_be_saved_as_a_file(reader: Client, run: Run):
    record(run)
    assert reader.get(url(run))["Content-Disposition"] == 'inline; filename="exporter-1.log"'
    assert reader.get(url(run) + "?download=1")["Content-Disposition"] == 'attachment; filename="exporter-1.log"'


def test_a_run_without_output_has_an_empty_one(reader: Client, run: Run):
    answer = reader.get(url(run))
    assert (answer.status_code, body(answer), answer["X-Output-Complete"]) == (200, b"", "false")


def test_an_unknown_run_is_not_found(reader: Client):
    for key in (4711, 2**63):
        answer = reader.get(f"/job/{key}/output/")
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_it_refuses_parameters_it_does_not_know(reader: Client, run: Run):
    assert reader.get(url(run) + "?tail=5").status_code == 400


def test_it_is_for_those_who_logged_in(client: Client, run: Run, settings):
    required = settings.PORTAL.auth.model_copy(update={"mode": "required"})
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": required})
    record(run)
    for path in (url(run), url(run) + "status/"):
        assert client.get(path).status_code == 401
    assert client.get(url(run), headers={"Accept": "text/event-stream"}).status_code == 401


def test_nothing_can_be_written_to_it(reader: Client, run: Run):
    assert reader.post(url(run), {}).status_code == 405


@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "text/plain", "application/json", "image/png"])
def test_it_is_text_whatever_else_is_accepted(reader: Client, run: Run, accept: str):
    record(run)
    assert reader.get(url(run), headers={"Accept": accept})["Content-Type"] == "text/plain; charset=utf-8"


@pytest.fixture
def archived(run: Run, settings, tmp_path: Path) -> Path:
    folder = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path / "output")}}
    settings.STORAGES = {**settings.STORAGES, "default": folder}
    record(run, close="succeeded")
    archive(Output.objects.get(run_id=run.pk))
    return tmp_path / "output"


def test_an_archived_output_is_served_the_same(reader: Client, run: Run, archived: Path):
    assert body(reader.get(url(run))) == TEXT
    assert body(reader.get(url(run), headers={"Range": "bytes=3-8"})) == TEXT[3:9]


def test_an_archive_that_cannot_be_read_is_a_503(reader: Client, run: Run, archived: Path):
    for path in archived.rglob("*.gz"):
        path.unlink()
    assert reader.get(url(run)).status_code == 503


def test_the_status_tells_each_containers_share(reader: Client, run: Run):
    recorder = Recorder(run.pk, ("clone", "build"), [])
    recorder.append("clone", b"Cloning\n", "1")
    recorder.end("clone", 8, 1)
    recorder.append("build", b"STEP\n", "1", missing=0)
    status = reader.get(url(run) + "status/").json()
    assert (status["run"], status["size"], status["closed"], status["closed_at"]) == (run.pk, 13, False, None)
    assert status["streams"] == [
        {
            "container": "clone",
            "start": 0,
            "raw_bytes": 8,
            "ended": True,
            "verdict": "gap",
            "verdict_detail": "clone: its 8 bytes are not the ones it reported (checksums differ)",
            "gaps": [],
        },
        {
            "container": "build",
            "start": 8,
            "raw_bytes": 5,
            "ended": False,
            "verdict": "",
            "verdict_detail": "",
            "gaps": [{"offset": 8, "missing": None}],
        },
    ]


def test_the_status_tells_outcome_and_verdict(reader: Client, run: Run):
    record(run, close="failed")
    status = reader.get(url(run) + "status/").json()
    assert (status["closed"], status["outcome"], status["verdict"]) == (True, "failed", "unproven")
    assert "build could not report" in status["verdict_detail"]


def test_the_status_of_a_run_without_output_is_empty(reader: Client, run: Run):
    status = reader.get(url(run) + "status/").json()
    assert (status["size"], status["closed"], status["streams"]) == (0, False, [])
