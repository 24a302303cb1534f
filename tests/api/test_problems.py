"""Every error is a problem (RFC 9457) with the id of its request, and none tells what is inside the portal."""

import logging

import pytest
from django.test import Client

from repos.models import Repository

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "code"}


def problem(answer, status):
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["request_id"] == answer["X-Request-ID"]
    return body


def test_a_missing_row(api):
    body = problem(api.get("/event/7/"), 404)
    assert body["type"] == "about:blank"
    assert body["title"] == "Not Found"
    assert body["instance"] == "/event/7/"
    assert body["detail"] == "There is no event '7'."


@pytest.mark.parametrize("path", ["/event/x/", "/event/1/2/", "/nothing/", "/repo//"])
def test_a_missing_address(api, path):
    problem(api.get(path), 404)


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
def test_an_address_without_its_slash_leads_there_with_the_same_method(api, method):
    answer = getattr(api, method)("/repo?id=1")
    assert (answer.status_code, answer["Location"]) == (308, "/repo/?id=1")


def test_a_wrong_method(api):
    assert problem(api.post("/event/7/"), 405)["code"] == "method_not_allowed"


def test_a_body_of_another_type(api):
    problem(api.post("/repo/", "a: b", content_type="application/yaml"), 415)


def test_an_answer_of_another_type(api):
    problem(api.get("/repo/", headers={"accept": "text/csv"}), 406)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}",
        b'{"\\ud800": 1}', b"\xef\xbb\xbf{}",
    ],
    ids=["cut", "NaN", "Infinity", "no UTF-8", "no UTF-8 inside", "deep", "long number", "half a pair", "BOM"],
)  # fmt: skip
def test_a_body_that_is_no_json(api, body):
    problem(api.post("/repo/", body, content_type="application/json"), 400)


@pytest.mark.parametrize("body", ["[]", "7", '"text"', "null", '[{"repo_name": "a"}]'])
def test_a_body_that_is_no_object(api, body):
    assert "object" in problem(api.post("/repo/", body, content_type="application/json"), 400)["detail"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"repo_name": "a", "repo_name": "b"}', "application/json"),
        ("repo_name=a&repo_name=b", "application/x-www-form-urlencoded"),
    ],
)
def test_a_field_that_is_there_twice(api, body, content_type):
    errors = problem(api.post("/repo/", body, content_type=content_type), 400)["errors"]
    assert [error["field"] for error in errors] == ["repo_name"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_body_that_is_too_large(api, content_type):
    problem(api.post("/log/", b"x" * (1024 * 1024 + 1), content_type=content_type), 413)


def test_an_uploaded_file_is_no_text(api, tmp_path):
    (tmp_path / "file").write_text("x")
    with (tmp_path / "file").open() as file:
        assert problem(api.post("/log/", {"msg": file}, format="multipart"), 400)["errors"][0]["field"] == "msg"


def test_a_form_with_too_many_fields(api):
    problem(api.post("/log/", "&".join(f"a{n}=1" for n in range(1001)), content_type="application/x-www-form-urlencoded"), 400)


def test_all_fields_to_correct_are_named_at_once(api):
    body = problem(api.post("/repo/", {"repo_name": "a/", "branch": "a b", "nope": 1}), 400)
    assert {error["field"] for error in body["errors"]} == {"repo_name", "branch", "nope"}
    assert all(set(error) == {"field", "message", "code"} for error in body["errors"])
    assert body["type"] == "/problems/invalid"


@pytest.fixture
def failing(settings, client):
    settings.ROOT_URLCONF = "tests.api.failing_urls"
    client.raise_request_exception = False
    return client


def test_an_unexpected_error_tells_nothing(failing, caplog):
    with caplog.at_level(logging.ERROR):
        answer = failing.get("/repo/", headers={"x-request-id": "abc-1"})
    assert problem(answer, 500)["code"] == "internal_server_error"
    assert "hunter2" not in answer.content.decode()
    assert "abc-1" in caplog.text


@pytest.mark.parametrize(("path", "status"), [("/builds/", 500), ("/denied/", 403), ("/nothing/", 404)])
def test_a_browser_is_shown_a_page(failing, path, status):
    answer = failing.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert "hunter2" not in answer.content.decode()


@pytest.mark.parametrize(("path", "status"), [("/builds/", 500), ("/denied/", 403), ("/nothing/", 404)])
def test_a_script_is_told_a_problem_about_pages_too(failing, path, status):
    problem(failing.get(path), status)


def test_a_csrf_failure(db):
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"}, headers={"accept": "*/*"})
    assert problem(answer, 403)["code"] == "csrf"


def test_a_value_taken_in_the_meantime_is_a_conflict(api, monkeypatch):
    Repository.objects.create(repo_name="app")
    monkeypatch.setattr("rest_framework.validators.UniqueValidator.__call__", lambda *args: None)
    assert problem(api.post("/repo/", {"repo_name": "app"}), 409)["code"] == "conflict"


def test_a_request_keeps_the_id_it_came_with(api):
    assert api.get("/repo/", headers={"x-request-id": "job-42.a_b"})["X-Request-ID"] == "job-42.a_b"


@pytest.mark.parametrize("sent", ["", "a b", "a\tb", "x" * 65, "é", "-a", "a;b"])
def test_an_id_that_could_forge_a_line_of_the_log_is_replaced(api, sent):
    answer = api.get("/repo/", headers={"x-request-id": sent})
    assert answer["X-Request-ID"] != sent
    assert len(answer["X-Request-ID"]) == 32


def test_every_request_has_an_id_of_its_own(api):
    assert api.get("/repo/")["X-Request-ID"] != api.get("/repo/")["X-Request-ID"]
