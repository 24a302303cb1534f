"""Requests that are made to be expensive, or to break what reads them."""

import time

import pytest
from django.core.files.base import ContentFile
from django.test import Client

from tests.support import rows

pytestmark = pytest.mark.django_db
HUGE = "9" * 5000  # more digits than int() reads


@pytest.fixture
def output() -> str:
    return f"/job/{rows.run(rows.event(rows.repository(), status='2')).pk}/output/"


def test_a_range_of_too_many_digits_is_ignored_like_any_malformed_one(client: Client, output: str):
    assert client.get(output, headers={"Range": f"bytes=0-{HUGE}"}).status_code == 200


def test_an_offset_of_too_many_digits_is_refused(client: Client, output: str):
    assert client.get(output, headers={"Accept": "text/event-stream", "Last-Event-ID": HUGE}).status_code == 400


def test_a_path_of_too_many_digits_leads_nowhere(client: Client):
    assert client.get(f"/repos/{HUGE}/").status_code == 404


def test_a_search_of_very_many_words_is_cut_short(client: Client):
    rows.repository()
    began = time.process_time()
    assert client.get("/", {"q": "a b " * 1000}).status_code == 200
    assert time.process_time() - began < 10  # it took 22 s, and then failed


def test_a_body_of_very_many_fields_is_refused_in_one_sentence(client: Client):
    answer = client.post("/repo/", {f"field{number}": 1 for number in range(20_000)}, content_type="application/json")
    assert (answer.status_code, answer.json()["detail"]) == (400, "The body has more than 1000 fields.")


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 11 + "1" + "}" * 11, '{"repo_name": ' + "[" * 10 + "]" * 10 + "}"])
def test_json_that_is_nested_deeply_is_refused(client: Client, body: str):
    answer = client.post("/repo/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["detail"]) == (400, "The JSON is nested more than 10 deep.")


def test_brackets_in_a_text_are_no_nesting(client: Client):
    body = {"repo_name": "app", "repo": "https://git.example/app.git", "desc": '\\"' + "[{" * 90}
    assert client.post("/repo/", body, content_type="application/json").status_code == 201


@pytest.mark.parametrize("end", ["\\" * 100_001, '\\"' * 400_000, "x" * 900_000])
def test_a_text_that_never_ends_is_no_json(client: Client, end: str):
    """A reader that began anew at each quote would take hours for the second."""
    assert client.post("/repo/", '{"repo_name": "' + end, content_type="application/json").status_code == 400


def test_a_body_larger_than_a_mebibyte_is_refused(client: Client):
    answer = client.post("/repo/", {"desc": "x" * 2**20}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")


@pytest.mark.parametrize("path", ["/repo/", "/event/", "/job/", "/log/", "/check/"])
def test_files_are_refused_and_named(client: Client, path: str):
    answer = client.post(path, {"repo_name": "app", "repo": ContentFile(b"https://git.example/app.git", name="repo")})
    assert (answer.status_code, answer.json()["errors"]) == (
        400,
        [{"field": "repo", "message": "must be text: files are not taken.", "code": "file"}],
    )


@pytest.mark.parametrize("length", ["", "x", "-1", "²", "9" * 30])
def test_a_length_that_is_none_breaks_nothing(client: Client, length: str):
    answer = client.post("/repo/", "{}", content_type="application/json", headers={"Content-Length": length})
    assert answer.status_code in (400, 413)
