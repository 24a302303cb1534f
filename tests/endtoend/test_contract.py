"""One contract, every backend and builder: what a check promises holds wherever the build runs."""

import json
import re
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.endtoend.stage import LINES, WORDS, Stage, cluster_stage, events_of, local_stage
from tests.support.cluster import GIT_LOGIN, PUSH_LOGIN
from tests.support.mariadb import run_mariadb
from tests.support.portal import files_below


def spellings(user: str, secret: str) -> list[str]:
    """The secret as it is, in a URL, in JSON, and in base64 alone and behind its user."""
    encoded = [b64encode(text.encode()).decode().rstrip("=")[:-1] for text in (secret, f"{user}:{secret}")]
    return [secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded]


KINDS = [
    pytest.param("local", marks=[pytest.mark.needs_buildah]),
    pytest.param("buildkit", marks=[pytest.mark.needs_cluster]),
    pytest.param("buildah", marks=[pytest.mark.needs_cluster, pytest.mark.needs_mariadb]),
]
SECRETS = [form for login in (GIT_LOGIN, PUSH_LOGIN) for form in spellings(*login)]


@pytest.fixture(scope="module", params=KINDS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Local builds and BuildKit with SQLite, buildah with MariaDB."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "local":
            yield stack.enter_context(local_stage(folder))
        elif request.param == "buildkit":
            yield stack.enter_context(cluster_stage(folder, "buildkit"))
        else:
            server = stack.enter_context(run_mariadb())
            yield stack.enter_context(cluster_stage(folder, "buildah", server))


def test_a_check_ends_with_the_image_in_the_registry(stage: Stage):
    seen = []
    answer = stage.check()
    assert answer.status == 202, answer.body
    event_id, run_id = answer.json["event"]["id"], answer.json["job"]["id"]
    assert answer.headers["Location"] == f"/event/{event_id}/"
    while not seen or seen[-1] in ("1", "2"):
        status = stage.portal.get(answer.headers["Location"]).json["status"]
        seen += [status] if status not in seen[-1:] else []
        time.sleep(0.02)
    event = stage.portal.event(event_id)
    assert seen == ["1", "2", "3"], (event["reason"], stage.portal.output(run_id).decode(errors="replace"))
    assert event["digest"] == stage.served_digest(event) != ""
    assert b"hello from the build" in stage.portal.output(run_id)
    assert stage.portal.output_status(run_id)["verdict"] == "verified"
    assert event["digest"] in stage.history(event)[-1]
    assert event["commit"] in stage.history(event)[-1]
    assert stage.portal.get(f"/job/{run_id}/").json["digest"] == event["digest"]


def test_a_failing_run_step_is_named_in_the_reason(stage: Stage):
    answer = stage.check("broken")
    event = stage.portal.wait(answer.json["event"]["id"])
    assert event["status"] == "4"
    assert "exit 7" in event["reason"], event["reason"]
    assert stage.served_digest(event) == ""
    assert stage.portal.output_status(answer.json["job"]["id"])["verdict"] == "verified"
    assert event["reason"] in stage.history(event)[-1]


def test_its_page_tells_phases_events_and_the_cause_of_a_failure(stage: Stage):
    answer = stage.check()
    event = stage.portal.wait(answer.json["event"]["id"])
    told = stage.portal.get(f"/job/{answer.json['job']['id']}/").json["phases"]
    # The kubelet tells whole seconds, BuildKit's output parts of them: as text "…:03Z" would come after "…:03.4Z".
    times = [datetime.fromisoformat(told[name][key]) for name in ("clone", "build", "push") for key in ("started", "finished")]
    assert times == sorted(times), told
    page = stage.portal.get(f"/builds/{event['id']}/").body.decode()
    assert event["digest"] in page
    if stage.shop:
        assert all(reason in page for reason in ("SuccessfulCreate", "Scheduled", "Pulled", "Started"))
    broken = stage.portal.wait(stage.check("broken").json["event"]["id"])
    page = stage.portal.get(f"/builds/{broken['id']}/").body.decode()
    assert "A step of the Dockerfile failed" in page
    assert 'data-failed-step="build"' in page


def test_odd_bytes_are_verified_too(stage: Stage):
    answer = stage.check("odd")
    event = stage.portal.wait(answer.json["event"]["id"])
    assert event["status"] == "3", event["reason"]
    status = stage.portal.output_status(answer.json["job"]["id"])
    assert status["verdict"] == "verified", status


def test_the_live_stream_is_the_output_and_resumes_at_the_byte(stage: Stage):
    run_id = stage.check("slow").json["job"]["id"]
    url = f"{stage.portal.url}/job/{run_id}/output/"
    live = events_of(url)
    text = "".join(json.loads(data) for name, _, data in live if name == "output")
    assert text.encode() == stage.portal.output(run_id)
    assert live[-1][0] == "end"
    assert json.loads(live[-1][2])["outcome"] == "succeeded"
    middle = next(place for name, place, data in live if name == "output" and "tick 40" in data)
    rest = "".join(json.loads(data) for name, _, data in events_of(url, middle) if name == "output")
    assert rest.encode() == stage.portal.output(run_id)[int(middle) :]


def test_a_killed_watchers_build_ends_as_if_nothing_had_happened(stage: Stage):
    answer = stage.check("slow")
    run_id = answer.json["job"]["id"]
    stage.wait_for_output(run_id, b"tick 20 of")
    stage.portal.kill_watchers()
    time.sleep(1)
    stage.portal.start_watcher()
    event = stage.portal.wait(answer.json["event"]["id"])
    assert event["status"] == "3", event["reason"]
    output = stage.portal.output(run_id)
    ticks = [int(number) for number in re.findall(rb"^[^\"]*?tick (\d+) of the slow build\r?$", output, re.MULTILINE)]
    assert ticks == list(range(1, 81))
    assert stage.portal.output_status(run_id)["verdict"] == "verified"
    if stage.shop:
        assert len([job for job in stage.jobs() if job["metadata"]["name"] == answer.json["job"]["name"]]) == 1


def test_a_cancelled_build_ends_soon_and_leaves_nothing_running(stage: Stage):
    answer = stage.check("slow")
    run_id, event_id = answer.json["job"]["id"], answer.json["event"]["id"]
    stage.wait_for_output(run_id, b"tick 10 of")
    assert stage.portal.post(f"/event/{event_id}/cancel/", {}).status == 202
    event = stage.portal.wait(event_id, seconds=30)
    assert (event["status"], event["reason"]) == ("5", "Cancelled by an anonymous user.")
    assert stage.portal.get(f"/job/{run_id}/").json["status"] == "cancelled"
    assert b"tick 10 of" in stage.portal.output(run_id)
    assert stage.portal.output_status(run_id)["closed"]
    deadline = time.monotonic() + 45
    while any(b"of the slow build" in line for line in _cmdlines()):
        assert time.monotonic() < deadline, "the build still runs"
        time.sleep(0.5)


def test_a_failed_build_is_retried_at_the_same_commit(stage: Stage):
    answer = stage.check("broken")
    event_id = answer.json["event"]["id"]
    failed = stage.portal.wait(event_id)
    again = stage.portal.post(f"/event/{event_id}/retry/", {})
    assert again.status == 202, again.body
    event = stage.portal.wait(event_id)
    assert (event["status"], event["commit"]) == ("4", failed["commit"])
    runs = stage.portal.get(f"/job/?event={event_id}&ordering=id").json["results"]
    assert [(run["attempt"], run["status"]) for run in runs] == [(1, "failed"), (2, "failed")]


def test_six_hundred_thousand_lines_are_stored_byte_for_byte(stage: Stage):
    answer = stage.check("loud")
    run_id = answer.json["job"]["id"]
    event = stage.portal.wait(answer.json["event"]["id"], seconds=240)
    assert event["status"] == "3", event["reason"]
    status = stage.portal.output_status(run_id)
    assert status["verdict"] == "verified", status
    assert status["size"] > 50_000_000
    numbers = [int(number) for number in re.findall(rb"(\d{6}) " + WORDS.encode() + rb"\n", stage.portal.output(run_id))]
    if stage.kind == "buildkit":  # its display breaks off a line now and then to repeat the step's name
        assert numbers == sorted(set(numbers))
        assert len(numbers) > LINES - 100
    else:
        assert numbers == list(range(LINES))


def _cmdlines() -> Iterator[bytes]:
    """The arguments of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            yield path.read_bytes()


def _processes(found: set[str], stop: threading.Event) -> None:
    """Note each secret that shows in any process's arguments."""
    while not stop.wait(0.02):
        for line in _cmdlines():
            text = line.replace(b"\0", b" ").decode(errors="replace")
            found.update(secret for secret in SECRETS if secret in text)


def test_no_secret_is_found_anywhere(stage: Stage):
    """Database, stored output, logs, manifests, the API's answers, objects in the cluster, the process list during the build."""
    found: set[str] = set()
    stop = threading.Event()
    watching = threading.Thread(target=_processes, args=(found, stop), daemon=True)
    watching.start()
    answer = stage.check("slow")
    run_id = answer.json["job"]["id"]
    stage.wait_for_output(run_id, b"tick 2 of")
    shown = [answer.body, stage.portal.get(f"/job/{run_id}/manifest/").body, stage.check(dry_run=True).body]
    if stage.shop:
        admin, space = stage.shop.space.admin, stage.shop.space
        shown += [json.dumps(admin.request("GET", space.path(kind))[0]).encode() for kind in ("jobs", "pods", "events")]
    stage.portal.wait(answer.json["event"]["id"])
    stop.set()
    watching.join()
    shown += [stage.portal.get(path).body for path in ("/repo/", "/event/", "/job/", "/log/", f"/job/{run_id}/output/")]
    assert found == set()
    everything = b"\n".join([*shown, stage.portal.everything(), stage.database_dump()])
    assert [secret for secret in SECRETS if secret.encode() in everything] == []


def test_secrets_are_gone_from_the_cluster_once_the_run_has_ended(stage: Stage):
    if stage.shop is None:
        deadline = time.monotonic() + 20
        builds = stage.portal.folder / "work" / "builds"
        while left := [path for path in files_below(builds) if path != builds / ".place"]:  # which names this machine
            assert time.monotonic() < deadline, left
            time.sleep(0.2)
        return
    space = stage.shop.space
    deadline = time.monotonic() + 20
    while True:
        names = [item["metadata"]["name"] for item in space.admin.request("GET", space.path("secrets"))[0]["items"]]
        if names == ["test-ca"]:
            return
        assert time.monotonic() < deadline, names
        time.sleep(0.5)
