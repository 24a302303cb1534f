import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts.models import ApiToken
from events.models import Event
from logs.models import Log, Output
from runners.models import Notices
from tests.support import rows

pytestmark = pytest.mark.django_db


def page_of(client: Client, event: Event, **query: object) -> str:
    answer = client.get(f"/builds/{event.pk}/", query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_shows_commit_ref_image_and_digest_with_the_commands_that_pull_it(client: Client):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    rows.run(event)
    page = page_of(client, event)
    assert f'title="{rows.COMMIT}">{rows.COMMIT[:12]}<' in page
    assert ">main<" in page
    assert "registry.example.com/team/exporter:buildv202611230801" in page
    for tool in ("docker", "podman"):
        assert f"<code>{tool} pull registry.example.com/team/exporter@{rows.DIGEST}</code>" in page


@pytest.fixture
def disk(tmp_path: Path, settings) -> Path:
    """Where local builds leave images that have no registry."""
    build = settings.PORTAL.build.model_copy(update={"folder": str(tmp_path)})
    settings.PORTAL = settings.PORTAL.model_copy(update={"build": build})
    return tmp_path / "images"


def leave_image(disk: Path) -> str:
    """Leave an OCI layout where a build of `on_disk` would; returns the digest of its manifest."""
    layout, manifest = disk / "team" / "exporter" / "buildv202611230801", b"{}"
    name = hashlib.sha256(manifest).hexdigest()
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (layout / "blobs" / "sha256" / name).write_bytes(manifest)
    (layout / "index.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{name}"}]}))
    return f"sha256:{name}"


def on_disk(digest: str) -> Event:
    event = rows.event(rows.repository(), status="3", digest=digest)
    rows.run(event, registory_add="", backend="local")
    return event


def test_an_image_on_disk_is_pulled_from_its_layout(client: Client, disk: Path):
    event = on_disk(leave_image(disk))
    page = page_of(client, event)
    assert event.digest in page
    assert f"<code>podman pull oci:{disk}/team/exporter/buildv202611230801:buildv202611230801</code>" in page
    assert "docker pull" not in page


def test_an_image_that_retention_removed_from_the_disk_is_not_offered(client: Client, disk: Path):
    page = page_of(client, on_disk(rows.DIGEST))
    assert "no longer on this machine" in page
    assert "podman pull" not in page


def test_an_image_that_a_later_build_replaced_on_the_disk_is_not_offered(client: Client, disk: Path):
    leave_image(disk)
    page = page_of(client, on_disk(rows.DIGEST))
    assert "taken this image" in page
    assert "podman pull" not in page


def test_an_image_on_another_machines_disk_is_not_offered_as_if_it_were_here(client: Client, disk: Path):
    event = on_disk(rows.DIGEST)
    event.runs.update(place="another machine")
    page = page_of(client, event)
    assert "on the disk of the machine that built it" in page
    assert "podman pull" not in page


def test_an_image_without_a_digest_has_no_pull_command(client: Client):
    event = rows.event(rows.repository(), status="4")
    rows.run(event)
    assert " pull " not in page_of(client, event)


def test_it_says_why_a_build_failed(client: Client):
    event = rows.event(rows.repository(), status="4", reason="The image is too large for <this> registry.")
    rows.run(event)
    page = page_of(client, event)
    assert "The image is too large for &lt;this&gt; registry." in page
    assert f"<title>✗ exporter #{event.pk} · CI Portal</title>" in page
    assert 'href="/static/ci_portal/favicon-failed.svg"' in page


def test_it_shows_every_attempt_with_its_phases(client: Client):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    begin = timezone.now() + timedelta(minutes=1)
    times = {
        "clone": {"started": begin.isoformat(), "finished": (begin + timedelta(seconds=4)).isoformat()},
        "build": {"started": (begin + timedelta(seconds=4)).isoformat(), "finished": (begin + timedelta(seconds=94)).isoformat()},
    }
    first = rows.run(event, status="failed", reason="The node went away.", attempt=1)
    second = rows.run(event, status="succeeded", attempt=2, phases=times)
    page = page_of(client, event)
    assert "<span>4 s</span>" in page
    assert "<span>1 min 30 s</span>" in page
    assert "The node went away." in page
    assert f'data-run="{second.pk}"' in page
    assert f'data-run="{first.pk}"' in page_of(client, event, run=first.pk)
    assert f'data-run="{first.pk}"' in page_of(client, event, attempt=1)


def test_a_run_of_another_event_is_not_shown_here(client: Client):
    exporter = rows.repository()
    event, other = rows.event(exporter), rows.event(exporter)
    foreign = rows.run(other)
    assert client.get(f"/builds/{event.pk}/", {"run": foreign.pk}).status_code == 404


@pytest.mark.parametrize(
    ("verdict", "words"),
    [(Output.VERIFIED, "complete and verified"), (Output.GAP, "incomplete"), (Output.UNPROVEN, "ended without proof")],
)
def test_it_says_whether_the_output_is_complete(client: Client, verdict, words):
    event = rows.event(rows.repository(), status="3")
    run = rows.run(event)
    Output.objects.create(run=run, size=7, closed_at=timezone.now(), verdict=verdict, verdict_detail="says why")
    page = page_of(client, event)
    assert words in page
    assert "says why" in page


def test_it_tells_the_history_of_this_event_alone(client: Client):
    exporter = rows.repository()
    event, other = rows.event(exporter), rows.event(exporter)
    Log.objects.record("the run started", repo_name="exporter", event=event)
    Log.objects.record("something else", repo_name="exporter", event=other)
    page = page_of(client, event)
    assert "the run started" in page
    assert "something else" not in page


def test_it_leads_to_manifest_and_output(client: Client):
    event = rows.event(rows.repository())
    run = rows.run(event)
    page = page_of(client, event)
    for path in (f"/job/{run.pk}/output/", f"/job/{run.pk}/manifest/"):
        assert f'href="{path}"' in page


def test_an_event_that_another_tool_recorded_has_a_page_too(client: Client):
    event = Event.objects.create(name="", status="7", repo="", image="x")
    page = page_of(client, event)
    assert "recorded, not run by this portal" in page
    assert " data-active" not in page


#: The event, its runs, what is usual (2), outputs, history, notices, what is newer (2).
QUERIES = 9


@pytest.mark.parametrize("many", [1, 30])
@pytest.mark.parametrize("headers", [{}, {"X-Live": "1"}], ids=["page", "looking again"])
def test_it_asks_the_database_as_often_for_many_attempts_and_events_as_for_one(
    client: Client, django_assert_num_queries, many, headers
):
    exporter = rows.repository()
    for number in range(many):
        rows.run(rows.event(exporter, status="3", digest=rows.DIGEST, image_tag=f"t{number}"), started_at=timezone.now())
    event = rows.event(exporter, status="2")
    for number in range(many):
        run = rows.run(event, attempt=number + 1)
        Output.objects.create(run=run)
        Notices.keep(run, [{"uid": str(each), "at": "2026-11-23T08:00:00Z"} for each in range(many)])
        Log.objects.record("a line", repo_name="exporter", event=event, run=run)
    for _ in range(many):
        rows.run(rows.event(exporter, status="4"))
    client.get(f"/builds/{event.pk}/")
    with django_assert_num_queries(QUERIES):
        client.get(f"/builds/{event.pk}/", headers=headers)


def test_looking_again_costs_no_body_where_nothing_changed(client: Client):
    event = rows.event(rows.repository(), status="4", reason="No.")
    rows.run(event)
    first = client.get(f"/builds/{event.pk}/", headers={"X-Live": "1"})
    same = client.get(f"/builds/{event.pk}/", headers={"X-Live": "1", "If-None-Match": first["ETag"]})
    assert (first.status_code, same.status_code, same.content) == (200, 304, b"")
    Event.objects.filter(pk=event.pk).update(reason="Yes.")
    other = client.get(f"/builds/{event.pk}/", headers={"X-Live": "1", "If-None-Match": first["ETag"]})
    assert other.status_code == 200
    assert "<main" not in other.content.decode()


def test_a_build_that_was_never_there_is_told_from_one_that_is_gone(client: Client):
    never = client.get("/builds/99000000/")
    event = rows.event(rows.repository())
    rows.event(event.repository)
    number = event.pk
    event.delete()
    gone = client.get(f"/builds/{number}/")
    assert (never.status_code, gone.status_code) == (404, 404)
    assert "There is no build #99000000" in never.content.decode()
    assert f"Build #{number} is not there any more" in gone.content.decode()


def test_an_attempt_that_is_not_there_is_not_found(client: Client):
    event = rows.event(rows.repository())
    rows.run(event)
    answer = client.get(f"/builds/{event.pk}/", {"attempt": 7})
    assert answer.status_code == 404
    assert f"Build #{event.pk} has no attempt 7" in answer.content.decode()


def test_a_waiting_build_tells_its_place_in_the_queue(client: Client):
    busy, quiet = rows.repository("busy"), rows.repository("quiet")
    events = [rows.event(busy) for _ in range(3)] + [rows.event(quiet)]
    for event in events:
        rows.run(event)
    rows.run(rows.event(busy, status="2"), status="running")
    assert "Place 1 of 4 in the queue" in page_of(client, events[3])  # the other repository has its turn already
    assert "Place 4 of 4 in the queue" in page_of(client, events[2])


def test_a_build_that_runs_or_is_to_be_cancelled_has_no_place_in_it(client: Client):
    running, called_off = rows.event(rows.repository(), status="2"), rows.event(rows.repository("other"))
    rows.run(running)
    rows.run(called_off, cancel_requested_at=timezone.now(), cancelled_by="eve")
    assert "in the queue" not in page_of(client, running)
    page = page_of(client, called_off)
    assert "in the queue" not in page
    assert "Being cancelled, as eve asked…" in page


@pytest.mark.parametrize(
    ("ref", "attributes"),
    [
        ("refs/heads/feature/x", 'data-branch="feature/x" data-tag=""'),
        ("refs/tags/v1", 'data-branch="" data-tag="v1"'),
        ("HEAD", 'data-branch="" data-tag=""'),
    ],
)
def test_building_the_latest_means_the_same_branch_or_tag(client: Client, ref, attributes):
    event = rows.event(rows.repository(), status="4", ref=ref)
    rows.run(event)
    page = page_of(client, event)
    assert f'data-repo="exporter" {attributes}>' in page
    assert "Build the latest" in page


def test_an_attempt_that_the_portal_made_by_itself_says_so(client: Client):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    rows.run(event, status="failed", reason="The node went away.")
    assert "made by the portal" not in page_of(client, event)
    rows.run(event, attempt=2, automatic=True)
    assert "made by the portal, as the cluster ended the attempt before" in page_of(client, event)


def trouble(cause: str, **columns: object) -> Event:
    event = rows.event(rows.repository(), status="4", reason="It went wrong.")
    rows.run(event, cause=cause, **columns)
    return event


def test_a_failure_says_what_to_do_and_leads_to_the_setting(client: Client):
    page = page_of(client, trouble("push_refused"))
    assert "Push refused" in page
    assert "It went wrong." in page
    assert "this login may push to this image" in page
    assert 'href="/repos/exporter/-/edit/#edit_image"' in page
    assert "<code>registry.username</code>" in page


def test_the_step_that_failed_is_told_to_the_output(client: Client):
    began = {"clone": {"started": "2026-11-23T08:00:00Z", "finished": "2026-11-23T08:00:01Z"}}
    event = trouble("step_failed", phases={**began, "build": {"started": "2026-11-23T08:00:01Z"}})
    assert 'data-failed-step="build"' in page_of(client, event)


def test_a_failure_of_which_no_cause_is_known_says_its_sentence_alone(client: Client):
    page = page_of(client, trouble(""))
    assert "It went wrong." in page
    assert "What to do" not in page


def test_a_superseded_build_leads_to_the_newer_one(client: Client):
    exporter = rows.repository()
    event = rows.event(exporter, status="5")
    newer = rows.event(exporter, status="1", name="event-exporter-newer")
    rows.run(event, cause="superseded", reason=f"Superseded by event {newer.name}.")
    assert f'href="/builds/{newer.pk}/">The newer build' in page_of(client, event)


def test_what_waits_says_what_will_happen(client: Client):
    event = rows.event(rows.repository(), status="1", reason="queued by Kueue in team")
    rows.run(event, status="launching", cause="queued", reason="queued by Kueue in team")
    page = page_of(client, event)
    assert "Held back by Kueue" in page
    assert "as soon as its queue has quota for it" in page


def test_an_estimate_needs_an_earlier_success_of_the_repository(client: Client):
    exporter, now = rows.repository(), timezone.now()
    event = rows.event(exporter, status="2")
    rows.run(event, started_at=now)
    assert "No earlier build of this repository succeeded" in page_of(client, event)
    for seconds in (50, 60, 1000):
        earlier = rows.event(exporter, status="3", digest=rows.DIGEST)
        rows.run(earlier, started_at=now, finished_at=now + timedelta(seconds=seconds))
    later = rows.event(exporter, status="2")
    rows.run(later, started_at=now)
    page = page_of(client, later)
    assert "usually 1 min 0 s" in page
    assert 'data-expected="60.0"' in page


def test_it_tells_what_the_cluster_told_and_how_often(client: Client):
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event)
    told = {"uid": "1", "at": "2026-11-23T08:00:00Z", "reason": "BackOff", "about": "clone", "message": "pulling <image>"}
    Notices.keep(run, [{**told, "count": 4, "warning": True}])
    page = page_of(client, event)
    assert "BackOff" in page
    assert "×4" in page
    assert "pulling &lt;image&gt;" in page


def test_a_script_is_told_by_its_token(client: Client):
    user = User.objects.create_user("alice")
    _, key = ApiToken.objects.issue(user, "nightly builds")
    answer = client.post("/event/", {"name": "e"}, "application/json", headers={"Authorization": f"Token {key}"})
    page = page_of(client, Event.objects.get(pk=answer.json()["id"]))
    assert "by alice, with the API token nightly builds" in page


def test_who_retried_it_is_told(client: Client):
    event = rows.event(rows.repository(), status="2", created_by="alice")
    rows.run(event, status="failed")
    again = rows.run(event, attempt=2)
    Log.objects.record(f"event {event.name} is built again", repo_name="exporter", event=event, run=again, actor="bob")
    page = page_of(client, event)
    assert "by alice" in page
    assert "Attempt 2, retried by bob" in page


def test_a_newer_image_is_pointed_at(client: Client):
    exporter = rows.repository()
    event = rows.event(exporter, status="3", digest=rows.DIGEST)
    rows.run(event)
    assert "newer image" not in page_of(client, event)
    newer = rows.event(exporter, status="3", digest=rows.DIGEST, image_tag="buildv2")
    rows.event(exporter, status="4")
    assert f'There is a newer image: <a href="/builds/{newer.pk}/">' in page_of(client, event)


def test_the_manifest_is_yaml_with_secrets_as_references(client: Client):
    event = rows.event(rows.repository(), status="2")
    rows.run(event, repo_path="https://git.example.com/team/exporter.git", backend="local", builder="buildah")
    answer = client.get(f"/builds/{event.pk}/manifest/", {"download": 1})
    (document,) = yaml.safe_load_all(answer.content)
    assert document["kind"] == "LocalBuild"
    assert answer["Content-Disposition"].startswith("attachment")


def test_what_another_tool_recorded_has_no_manifest(client: Client):
    event = Event.objects.create(name="x", status="3", repo="", image="x")
    assert client.get(f"/builds/{event.pk}/manifest/").status_code == 404
