"""Requests that are made to be expensive, or to break what reads them."""

import time

import pytest
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
