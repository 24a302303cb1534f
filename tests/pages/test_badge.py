import re
from xml.etree import ElementTree

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def login_required(settings):
    settings.PORTAL = settings.PORTAL.model_copy(update={"auth": settings.PORTAL.auth.model_copy(update={"mode": "required"})})


def says(client: Client, **query: str) -> str:
    answer = client.get("/repos/exporter/badge.svg", query)
    assert answer["Content-Type"] == "image/svg+xml"
    return ElementTree.fromstring(answer.content).attrib["aria-label"]


def test_it_tells_the_last_outcome_and_nothing_that_has_none_yet(client: Client):
    exporter = rows.repository()
    assert says(client) == "build: not built"
    rows.event(exporter, status="3")
    rows.event(exporter, status="4")
    rows.event(exporter, status="2")
    assert says(client) == "build: failed"


def test_it_tells_that_of_one_branch(client: Client):
    exporter = rows.repository()
    rows.event(exporter, status="3", ref="refs/heads/release")
    rows.event(exporter, status="4")
    assert says(client, branch="release") == "build: succeeded"


@pytest.mark.usefixtures("login_required")
def test_without_a_login_it_is_there_for_whoever_has_its_address(client: Client):
    rows.repository()
    stranger = Client()
    for query in ({}, {"key": "0" * 32}):
        assert stranger.get("/repos/exporter/badge.svg", query).status_code == 404
    client.force_login(User.objects.create_superuser("root"))
    markdown = re.search(r'data-copy="([^"]+)"', client.get("/repos/exporter/").content.decode())[1]
    address = re.search(r"\(http://testserver(/repos/[^)]+)\)", markdown)[1]
    assert stranger.get(address).status_code == 200
    assert stranger.get(address.replace("/badge.svg", "/")).status_code == 302


def test_it_is_not_sent_again_while_nothing_changes(client: Client):
    rows.event(rows.repository(), status="3")
    first = client.get("/repos/exporter/badge.svg")
    assert first["Cache-Control"] == "no-cache"
    assert client.get("/repos/exporter/badge.svg", headers={"If-None-Match": first["ETag"]}).status_code == 304
