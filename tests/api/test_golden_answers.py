"""The exact bytes of answers, kept in tests/wire: scripts of the original depend on names, order and both time formats."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection

from events.models import Event
from logs.models import Log, Output
from repos.models import Repository
from repos.serializers import RepositorySerializer
from runners.models import Run
from runners.serializers import RunSerializer

WIRE = Path(__file__).parent.parent / "wire"
MOMENT = datetime(2021, 11, 25, 15, 17, 3, tzinfo=UTC)
LATER = datetime(2021, 11, 25, 15, 19, 0, 250000, tzinfo=UTC)

POSTED = {
    "repo": {
        "repo_name": "prometh_exporter",
        "repo": "https://username:password@bitbucket.org/team/prometh_exporter.git",
        "branch": "main",
        "tag": "v1.2",
        "build_path": "docker",
        "dockerfile": "docker/Dockerfile",
        "job": "build-prometh-exporter",
        "type": "dockerfile",
        "image": "registry.example.com:5000/team/prometh_exporter",
        "desc": "exports metrics 指标",
        "Time": "20211125 151703",
        "user": "alice",
        "ca_secret": "team-ca",
        "name": "Prometheus exporter",
    },
    "event": {
        "name": "event-prometh-exporter-buildv202111251517",
        "status": "3",
        "repo": "prometh_exporter",
        "job": "build-prometh-exporter",
        "type": "dockerfile",
        "image": "registry.example.com:5000/team/prometh_exporter",
        "Image_tag": "buildv202111251517",
        "ctime": "20211125 151703",
        "Desc": "built elsewhere",
    },
    "job": {
        "name": "build-prometh-exporter",
        "status": "succeeded",
        "type": "dockerfile",
        "desc": "built elsewhere",
        "ctime": "20211125 151703",
        "REGISTORY_ADD": "registry.example.com:5000",
        "REGISTRY_NAME": "pusher",
        "REGISTRY_PASS": "registry-password",
        "IMAGE_REPO": "team",
        "IMAGE_NAME": "prometh_exporter",
        "IMAGE_TAG": "v1.2",
        "REPO_PATH": "https://bitbucket.org/team/prometh_exporter.git",
        "REPO_DOCKERFILE": "docker/Dockerfile",
        "BUILD_PATH": "docker",
    },
    "log": {"msg": "deployed to production", "create_at": "20211125 151703"},
}


@pytest.fixture
def rows(db):
    """One row of each table, as the portal itself writes them, with every column filled."""
    described = {name: value for name, value in POSTED["repo"].items() if name not in ("Time", "repo")}
    repository = Repository.objects.create(pk=7, repo="https://bitbucket.org/team/prometh_exporter.git", **described)
    Repository.objects.update(time=MOMENT)
    source = {"ref": "refs/tags/v1.2", "commit": "4f1c9f0d5a2e47c0a1b2c3d4e5f60718293a4b5c", "digest": "sha256:" + "5c" * 32}
    event = Event.objects.create(
        pk=8,
        name="event-prometh-exporter-buildv202111251517",
        status=Event.SUCCEEDED,
        repo="prometh_exporter",
        job="build-prometh-exporter-0a1b2c3d",
        type="dockerfile",
        image="registry.example.com:5000/team/prometh_exporter",
        image_tag="v1.2",
        desc="nightly",
        managed=True,
        repository=repository,
        created_by="alice",
        finished_at=LATER,
        **source,
    )
    Event.objects.update(ctime=MOMENT)
    run = Run.objects.create(
        pk=9,
        name="build-prometh-exporter-0a1b2c3d",
        status=Run.SUCCEEDED,
        type="dockerfile",
        registory_add="registry.example.com:5000",
        registry_name="pusher",
        image_repo="team",
        image_name="prometh_exporter",
        image_tag="v1.2",
        repo_path=repository.repo,
        repo_dockerfile="docker/Dockerfile",
        build_path="docker",
        desc="nightly",
        managed=True,
        event=event,
        uid="0a1b2c3d" * 4,
        backend="kubernetes",
        builder="buildkit",
        ca_secret="team-ca",
        phases={"clone": {"started": "2021-11-25T15:17:05Z", "finished": "2021-11-25T15:17:09Z"}},
        launched_at=MOMENT,
        started_at=MOMENT,
        finished_at=LATER,
        **source,
    )
    Run.objects.update(ctime=MOMENT)
    Output.objects.create(run=run, size=4096, verdict=Output.VERIFIED)
    Log.objects.create(pk=10, repository=repository, event=event, run=run, msg="run started → succeeded", actor="alice")
    Log.objects.update(create_at=MOMENT)


def golden(name):
    return (WIRE / f"{name}.json").read_bytes().removesuffix(b"\n")


@pytest.mark.parametrize(("table", "key"), [("repo", 7), ("event", 8), ("job", 9), ("log", 10)])
def test_a_row_answers_these_bytes(api, rows, table, key):
    assert api.get(f"/{table}/{key}/").content == golden(f"{table}-row")


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_a_list_answers_these_bytes(api, rows, table):
    assert api.get(f"/{table}/").content == golden(f"{table}-list")


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
@pytest.mark.parametrize("content_type", ["json", "multipart"])
def test_a_post_answers_these_bytes(api, table, content_type):
    answer = api.post(f"/{table}/", POSTED[table], format=content_type)
    assert (answer.status_code, answer["Location"]) == (201, f"/{table}/{answer.json()['id']}/")
    assert answer.content.replace(b'{"id":%d,' % answer.json()["id"], b'{"id":1,') == golden(f"{table}-post")


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
def test_an_adopted_row_of_nulls_answers_these_bytes(api, table):
    """The original's columns may be NULL; texts read as empty then."""
    model = {"repo": Repository, "event": Event, "job": Run, "log": Log}[table]
    row = model.objects.create(pk=11, **({"repo_name": "old"} if table == "repo" else {}))
    columns = [field for field in model._meta.concrete_fields if field.null and not field.primary_key]
    with connection.cursor() as cursor:
        nulls = ", ".join(f"{connection.ops.quote_name(field.column)} = NULL" for field in columns)
        cursor.execute(f"UPDATE {connection.ops.quote_name(model._meta.db_table)} SET {nulls} WHERE id = {row.pk}")
    assert api.get(f"/{table}/11/").content == golden(f"{table}-nulls")


def test_legacy_times_are_shown_in_the_configured_time_zone(api, rows, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    row = api.get("/event/8/").json()
    assert (row["ctime"], row["ctime_utc"]) == ("20211125 231703", "2021-11-25T15:17:03Z")


def test_legacy_times_are_read_in_the_configured_time_zone(api, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    assert api.post("/event/", {"ctime": "20211125 231703"}).json()["ctime_utc"] == "2021-11-25T15:17:03Z"


def test_other_answers_that_hold_a_row_hold_all_of_it(api, rows):
    """POST /check/ answers with rows that it has just written."""
    assert RepositorySerializer(Repository.objects.get()).data == api.get("/repo/7/").json()
    assert RunSerializer(Run.objects.get()).data == api.get("/job/9/").json()
