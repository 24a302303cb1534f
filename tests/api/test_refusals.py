"""What is wrong in a request is refused, naming the field or parameter, and nothing is written."""

import json

import pytest

from repos.models import Repository

LENGTHS = {
    "repo": {
        "repo_name": 150, "branch": 150, "tag": 100, "build_path": 150, "dockerfile": 150, "type": 20, "image": 150,
        "desc": 200, "name": 50, "user": 50, "ca_secret": 150,
    },
    "event": {"name": 100, "repo": 150, "job": 100, "type": 50, "image": 200, "Image_tag": 128, "Desc": 300},
    "job": {
        "name": 100, "type": 50, "desc": 200, "REGISTORY_ADD": 150, "REGISTRY_NAME": 150, "REGISTRY_PASS": 150, "IMAGE_REPO": 150,
        "IMAGE_NAME": 150, "IMAGE_TAG": 150, "REPO_PATH": 200, "REPO_DOCKERFILE": 150, "BUILD_PATH": 150,
    },
    "log": {"msg": 16000},
}  # fmt: skip
NEEDED = {"repo": {"repo_name": "app"}, "event": {}, "job": {"status": "failed"}, "log": {}}
TEXTS = [(table, field, length) for table, fields in LENGTHS.items() for field, length in fields.items()]


def refused(answer):
    assert answer.status_code == 400, answer.content
    return list(dict.fromkeys(error["field"] for error in answer.json()["errors"]))


def text_of(field, length):
    """A text of that many characters that the field's grammar allows."""
    return ".".join("a" * 48 for _ in range(4))[:length] if field == "ca_secret" else "a" * length


@pytest.mark.parametrize(("table", "field", "length"), TEXTS)
def test_a_text_as_long_as_its_column_is_taken(api, table, field, length):
    answer = api.post(f"/{table}/", {**NEEDED[table], field: text_of(field, length)})
    assert answer.status_code == 201, answer.content


@pytest.mark.parametrize(("table", "field", "length"), TEXTS)
def test_a_text_longer_than_its_column_is_refused(api, table, field, length):
    assert refused(api.post(f"/{table}/", {**NEEDED[table], field: text_of(field, length + 1)})) == [field]


@pytest.mark.parametrize(("table", "field", "length"), TEXTS)
@pytest.mark.parametrize(
    "value",
    ["a\x00b", "a\x1bb", "a\ud800b", ["a"], {"a": 1}, True],
    ids=["NUL", "escape", "half a pair", "list", "object", "boolean"],
)
def test_what_is_no_printable_text_is_refused(api, table, field, length, value):
    body = json.dumps({**NEEDED[table], field: value})
    assert refused(api.post(f"/{table}/", body, content_type="application/json")) == [field]


@pytest.mark.parametrize(("table", "field", "length"), [row for row in TEXTS if row[1] not in ("repo_name", "REGISTRY_PASS")])
def test_null_reads_as_the_empty_text(api, table, field, length):
    answer = api.post(f"/{table}/", {**NEEDED[table], field: None})
    assert (answer.status_code, answer.json()[field]) == (201, "")


@pytest.mark.parametrize("table", ["repo", "event", "job", "log"])
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_unknown_fields_are_refused(api, table, method):
    row = api.post(f"/{table}/", NEEDED[table]).json()
    url = f"/{table}/" if method == "post" else f"/{table}/{row['id']}/"
    fields = refused(getattr(api, method)(url, {**NEEDED[table], "nope": 1, "time": "x"}))
    assert {"nope", "time"} <= set(fields)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("repo", "has_credentials"),
        ("event", "digest"),
        ("event", "managed"),
        ("event", "finished_at"),
        ("job", "event"),
        ("log", "actor"),
    ],
)
def test_fields_that_the_portal_sets_are_refused(api, table, field):
    row = api.post(f"/{table}/", NEEDED[table]).json()
    assert refused(api.patch(f"/{table}/{row['id']}/", {field: "sha256:00"})) == [field]
    assert refused(
        api.post(f"/{table}/", {"repo_name": "second"} | {field: "1"} if table == "repo" else {**NEEDED[table], field: "1"})
    ) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("branch", "a b"), ("branch", "-x"), ("branch", "a..b"), ("tag", "v1^"), ("tag", "refs/tags/v1"),
        ("dockerfile", "../Dockerfile"), ("dockerfile", "/etc/passwd"), ("dockerfile", "-"), ("build_path", "a/../../b"),
        ("image", "team/UPPER"), ("image", "app:latest"), ("image", "app@sha256:00"), ("job", "Not_DNS"), ("job", "a" * 64),
        ("ca_secret", "../secret"), ("ca_secret", "-a"),
        ("repo", "file:///etc/passwd"), ("repo", "ext::sh -c id"), ("repo", "--upload-pack=id"), ("repo", "http://git.example.com/a"),
        ("repo", "https://git.example.com/" + "a" * 200), ("repo", 7), ("deploy_key", "no key"),
        ("Time", "yesterday"), ("Time", "20211332 000000"), ("Time", "16000101 000000"), ("Time", "20990101 000000"),
        ("Time", None),
    ],
)  # fmt: skip
def test_a_repository_is_described_by_names_of_their_grammar(api, field, value):
    assert refused(api.post("/repo/", {"repo_name": "app", field: value})) == [field]
    assert not Repository.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"branch": "feature/x", "tag": "v1.2-rc.1"},
        {"dockerfile": "docker/Dockerfile.prod", "build_path": "./docker/"},
        {"image": "localhost:5000/team/app"},
        {"repo": "git@git.example.com:team/app.git"},
        {"repo": "ssh://git@git.example.com:2222/team/app.git"},
        {"Time": "2021-11-25T15:17:00+08:00"},
    ],
)
def test_good_names_are_kept_as_they_are_written(api, fields):
    row = api.post("/repo/", {"repo_name": "app", **fields}).json()
    assert {name: row[name] for name in fields if name != "Time"} == {
        name: value for name, value in fields.items() if name != "Time"
    }


@pytest.mark.parametrize(("table", "value"), [("event", "6"), ("event", "running"), ("job", "3"), ("job", "done")])
def test_a_status_that_is_none_is_refused(api, table, value):
    assert refused(api.post(f"/{table}/", {"status": value})) == ["status"]


def test_an_adopted_row_with_an_odd_value_can_be_changed_elsewhere(api):
    Repository.objects.create(pk=5, repo_name="old", branch="a b", repo="svn://old.example.com/x")
    row = api.get("/repo/5/").json()
    assert api.put("/repo/5/", {**row, "tag": "v1"}).json() == {**row, "tag": "v1"}


@pytest.mark.parametrize("url", ["/repo/", "/event/", "/job/", "/log/"])
@pytest.mark.parametrize(
    "query",
    ["nope=1", "ordering=nope", "ordering=id,id", "ordering=id,-id", "page=0", "page=2", "page=x", "page=-1", "page_size=0",
     "page_size=501", "page_size=x", "id=x", "id=-1", "id=99999999999", "id=1&id=2", "search=%00", "search=" + "a" * 201],
)  # fmt: skip
def test_parameters_that_are_unknown_or_unreadable_are_refused(api, url, query):
    assert refused(api.get(f"{url}?{query}")) == [query.partition("=")[0]]


@pytest.mark.parametrize("url", ["/repo/app/", "/event/1/", "/job/1/", "/log/1/"])
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_a_row_takes_no_parameters(api, url, method):
    assert refused(getattr(api, method)(f"{url}?id=1")) == ["id"]


@pytest.mark.parametrize(
    ("field", "value"), [("Repo_name", "nobody"), ("event_uuid", 999), ("Runner_uuid", 10**30), ("event_uuid", "x")]
)
def test_the_history_is_tied_to_what_is_there(api, field, value):
    assert refused(api.post("/log/", {"msg": "m", field: value})) == [field]
