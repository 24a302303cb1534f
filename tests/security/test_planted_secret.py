"""A secret that a Dockerfile prints in every encoding is found nowhere: not in the database, stored output, archive, live stream,
pages, answers, history, logs, manifest, nor in any process's arguments while the build runs."""

import base64
import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.endtoend.stage import DOCKERFILE, Stage, cluster_stage, events_of, local_stage
from tests.support.cluster import BUSYBOX
from tests.support.waiting import until

USER, TOKEN = "ci-bot", 'pl4nted/t0ken+of "git" it\'s=?&'


def base64_of(before: str, encode=base64.b64encode) -> str:
    """The token at one alignment, without what stands around it: what a reader could decode."""
    whole = encode((before + TOKEN).encode()).decode().rstrip("=")
    return whole[(8 * len(before) + 5) // 6 : -1]


SPELLINGS = {
    "text": TOKEN,
    "url": quote(TOKEN, safe=""),
    "form": quote_plus(TOKEN),
    "json": json.dumps(TOKEN)[1:-1],
    "shell": shlex.quote(TOKEN)[1:-1],
    "hex": TOKEN.encode().hex(),
    "upper hex": TOKEN.encode().hex().upper(),
    **{f"base64 at {n}": base64_of("x" * n) for n in range(3)},
    **{f"base64url at {n}": base64_of("x" * n, base64.urlsafe_b64encode) for n in range(3)},
}
#: What the build prints. The repository holds it backwards, so that whatever is found came out of the build.
PRINTED = [
    *(f"{name}: {text}" for name, text in SPELLINGS.items() if not name.startswith("base64")),
    *(base64.b64encode(("x" * n + TOKEN + "y" * n).encode()).decode() for n in range(3)),
    *(base64.urlsafe_b64encode(("x" * n + TOKEN + "y" * n).encode()).decode() for n in range(3)),
]
HALVES = (TOKEN[:11], TOKEN[11:])
STEPS = """COPY backwards /backwards
COPY halves /halves
RUN /bin/busybox rev /backwards; echo all was printed
RUN for half in 1 2; do /bin/busybox head -n $half /halves | /bin/busybox tail -n 1 | /bin/busybox rev | /bin/busybox tr -d '\\n'; \
/bin/busybox usleep 400000; done; echo; echo the halves were printed
"""


@pytest.fixture(params=["local", "cluster"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with local_stage(tmp_path) if request.param == "local" else cluster_stage(tmp_path, "buildkit") as running:
        files = {
            "Dockerfile": DOCKERFILE + STEPS,
            "busybox": BUSYBOX.read_bytes(),
            "backwards": "".join(f"{line[::-1]}\n" for line in PRINTED),
            "halves": "".join(f"{half[::-1]}\n" for half in HALVES),
        }
        running.git.repository("team/planted.git").commit(files)
        running.git.require_login("team/planted.git", USER, TOKEN)
        yield running


@contextmanager
def arguments_of_all_processes() -> Iterator[set[bytes]]:
    """The arguments of whatever runs on this machine meanwhile, looked at again and again."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_each_spelling_is_among_what_is_printed():
    """Else the test below would find nothing, whatever was leaked."""
    assert found_in("\n".join(PRINTED).encode()) == list(SPELLINGS)
    assert len(SPELLINGS) >= 10


def found_in(kept: bytes) -> list[str]:
    return [name for name, text in SPELLINGS.items() if text.encode() in kept]


@pytest.mark.parametrize(
    "stage",
    [pytest.param("local", marks=pytest.mark.needs_buildah), pytest.param("cluster", marks=pytest.mark.needs_cluster)],
    indirect=True,
)
def test_it_is_found_nowhere(stage: Stage):
    portal = stage.portal
    with arguments_of_all_processes() as arguments:
        url = stage.git.url("team/planted.git", stage.host)
        answer = portal.post("/check/", {"repo": url, "user": USER, "token": TOKEN, "ca_secret": "test-ca"})
        assert answer.status == 202, answer.body
        event, run = answer.json["event"]["id"], answer.json["job"]["id"]
        live = events_of(f"{portal.url}/job/{run}/output/")
        ended = portal.wait(event)
        # What a local build printed lies there as it was printed until the watcher is rid of the build, a moment after its end.
        until(lambda: not any(path.is_dir() for path in portal.folder.glob("work/builds/*")))
    output = portal.output(run)
    assert ended["status"] == "3", output.decode(errors="replace")
    assert b"all was printed" in output
    assert b"the halves were printed" in output
    assert output.count(b"***") >= len(PRINTED) + 1
    told = {
        "answer": answer.body,
        "output": output,
        "live stream": "\n".join(data for _, _, data in live).encode(),
        "rows": b"".join(portal.get(path).body for path in ("/repo/", "/event/", "/job/", "/log/")),
        "manifest": portal.get(f"/job/{run}/manifest/").body,
        "page": portal.get(f"/builds/{event}/", Accept="text/html").body,
        "database, archive, logs": portal.everything() + stage.database_dump(),
        "arguments": b"\n".join(arguments),
    }
    assert {place: found for place, kept in told.items() if (found := found_in(kept))} == {}
    assert any(b"git" in each and b"fetch" in each for each in arguments), "git was seen at work"
