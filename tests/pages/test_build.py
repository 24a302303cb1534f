from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from events.models import Event
from logs.models import Log, Output
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


def test_an_image_on_disk_is_pulled_from_its_layout(client: Client, settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"build": settings.PORTAL.build.model_copy(update={"folder": "/srv/ci"})})
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    rows.run(event, registory_add="", backend="local")
    page = page_of(client, event)
    assert rows.DIGEST in page
    assert "<code>podman pull oci:/srv/ci/images/team/exporter/buildv202611230801:buildv202611230801</code>" in page
    assert "docker pull" not in page


def test_an_image_without_a_digest_has_no_pull_command(client: Client):
    event = rows.event(rows.repository(), status="4")
    rows.run(event)
    assert "pull" not in page_of(client, event).replace('class="pull"', "")


def test_it_says_why_a_build_failed(client: Client):
    event = rows.event(rows.repository(), status="4", reason="The image is too large for <this> registry.")
    rows.run(event)
    page = page_of(client, event)
    assert "The image is too large for &lt;this&gt; registry." in page
    assert "<title>failed · exporter buildv202611230801 · CI Portal</title>" in page
    assert 'href="/static/ci_portal/favicon-failed.svg"' in page


def test_it_shows_every_attempt_with_its_phases(client: Client):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    begin = timezone.now()
    times = {
        "clone": {"started": begin.isoformat(), "finished": (begin + timedelta(seconds=4)).isoformat()},
        "build": {"started": (begin + timedelta(seconds=4)).isoformat(), "finished": (begin + timedelta(seconds=94)).isoformat()},
    }
    first = rows.run(event, status="failed", reason="The node went away.", attempt=1)
    second = rows.run(event, status="succeeded", attempt=2, phases=times)
    page = page_of(client, event)
    assert "clone <span>4 s</span>" in page
    assert "build <span>1 min 30 s</span>" in page
    assert "The node went away." in page
    assert f'data-run="{second.pk}"' in page
    assert f'data-run="{first.pk}"' in page_of(client, event, run=first.pk)


def test_a_running_attempt_says_how_long_it_waited_and_runs(client: Client):
    event = rows.event(rows.repository(), status="2")
    run = rows.run(event, status="running")
    run.started_at = run.ctime + timedelta(seconds=7)
    run.save()
    page = page_of(client, event)
    assert "waiting <span>7 s</span>" in page
    assert f'running <span data-since="{run.started_at.isoformat()}">' in page


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
    assert 'data-active="false"' in page


def test_it_asks_the_database_the_same_number_of_times_for_one_attempt_and_for_many(client: Client, django_assert_num_queries):
    event = rows.event(rows.repository(), status="2")
    rows.run(event)
    client.get(f"/builds/{event.pk}/")
    with django_assert_num_queries(4):
        client.get(f"/builds/{event.pk}/")
    for _ in range(5):
        rows.run(event)
    with django_assert_num_queries(4):
        client.get(f"/builds/{event.pk}/")


def test_an_event_that_is_not_there_is_not_found(client: Client):
    assert client.get("/builds/99/").status_code == 404


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
    assert f'data-repo="exporter" {attributes}>Build the latest<' in page_of(client, event)


def test_an_attempt_that_the_portal_made_by_itself_says_so(client: Client):
    event = rows.event(rows.repository(), status="3", digest=rows.DIGEST)
    rows.run(event, status="failed", reason="The node went away.")
    assert "made by the portal" not in page_of(client, event)
    rows.run(event, attempt=2, automatic=True)
    assert "made by the portal, as the cluster ended the attempt before" in page_of(client, event)
