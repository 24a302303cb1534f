import json
import re

import pytest
from django.test import Client

from repos.forms import RepositoryForm
from repos.models import Repository
from tests.support import rows

pytestmark = pytest.mark.django_db


def test_it_has_a_field_for_every_column_of_the_original(client: Client):
    page = client.get("/").content.decode()
    columns = {field.name for field in Repository._meta.concrete_fields} - {"id", "time"}
    assert columns | {"git_user", "git_token", "deploy_key", "csrfmiddlewaretoken"} == set(
        re.findall(r'name="(\w+)"', page.split('id="add"')[1].split("</form>")[0])
    )


def test_the_form_posts_to_the_portal_itself(client: Client):
    assert '<form id="add" action="/repo/" method="post"' in client.get("/").content.decode()


def test_the_token_is_typed_unseen():
    assert 'type="password"' in str(RepositoryForm()["git_token"])


def test_no_field_takes_more_than_its_column_holds():
    fields = RepositoryForm().fields
    for column in Repository._meta.concrete_fields:
        if column.max_length and column.name in fields and column.name != "repo":  # a pasted URL may carry a login on top
            assert fields[column.name].max_length == column.max_length, column.name


def test_it_shows_each_repository_with_its_last_event(client: Client):
    exporter = rows.repository("exporter")
    rows.event(exporter, status="3", image_tag="buildv202611230700")
    last = rows.event(exporter, status="4", image_tag="buildv202611230800")
    page = client.get("/").content.decode()
    assert f'href="/builds/{last.pk}/"' in page
    assert "buildv202611230700" not in page
    assert "failed" in page


def test_it_shows_a_last_event_that_another_tool_recorded(client: Client):
    rows.repository("exporter")
    recorded = rows.event(None, repo="exporter", managed=False, status="9")
    page = client.get("/").content.decode()
    assert f'href="/builds/{recorded.pk}/"' in page
    assert 'class="state state-unknown"' in page


def test_it_asks_the_database_the_same_number_of_times_for_one_and_for_many(client: Client, django_assert_num_queries):
    rows.event(rows.repository("first"))
    client.get("/")
    with django_assert_num_queries(3):
        client.get("/")
    for number in range(30):
        rows.event(rows.repository(f"more-{number}"))
    with django_assert_num_queries(3):
        client.get("/")


def test_it_finds_repositories_by_all_words(client: Client):
    rows.repository("exporter", desc="metrics for the shop")
    rows.repository("importer", desc="orders of the shop")
    page = client.get("/", {"q": "shop metrics"}).content.decode()
    assert 'data-repo="exporter"' in page
    assert 'data-repo="importer"' not in page


def test_a_search_without_a_hit_says_so(client: Client):
    rows.repository("exporter")
    assert "No repository matches “nothing like it”." in client.get("/", {"q": "nothing like it"}).content.decode()


def test_an_empty_portal_says_what_to_do_next(client: Client):
    assert "No repository is registered yet." in client.get("/").content.decode()


def test_pages_keep_the_search(client: Client):
    for number in range(26):
        rows.repository(f"service-{number:02}")
    page = client.get("/", {"q": "service"}).content.decode()
    assert 'href="?q=service&amp;page=2"' in page
    assert "service-00" not in page
    assert "service-00" in client.get("/", {"q": "service", "page": "2"}).content.decode()


def test_names_and_urls_are_escaped(client: Client):
    rows.repository('<script>"&', repo='https://h/"><img src=x>', desc="<b>", name="<i>")
    page = client.get("/", {"q": '<script>"'}).content.decode()
    assert "<script>&quot;" not in page
    assert "<img" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;&quot;&amp;" in page


def test_it_gives_scripts_the_csrf_cookie_and_the_texts(client: Client):
    answer = client.get("/")
    assert "csrftoken" in answer.cookies
    texts = re.search(r'<script id="texts" type="application/json">(.*?)</script>', answer.content.decode())
    assert texts
    assert json.loads(texts[1])["added"] == "{name} was added."


def test_nothing_in_it_needs_more_than_the_strict_policy(client: Client):
    rows.event(rows.repository())
    for path in ("/", "/builds/", "/repos/exporter/"):
        answer = client.get(path)
        page = answer.content.decode()
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert not re.search(
            r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=|javascript:|https?://(?!git\.example)", page
        )


def test_a_repository_has_a_page_with_settings_events_and_history(client: Client):
    exporter = rows.repository("exporter", branch="release")
    recorded = rows.event(exporter)
    exporter.logs.create(msg="branch changed to release", actor="ada")
    page = client.get("/repos/exporter/").content.decode()
    assert "release" in page
    assert f'href="/builds/{recorded.pk}/"' in page
    assert "branch changed to release" in page
    assert client.get(f"/repos/{exporter.pk}/").content.decode().count("branch changed to release") == 1


def test_its_page_says_that_newer_checks_supersede_older_ones(client: Client):
    rows.repository("exporter", supersede=True)
    rows.repository("importer")
    assert "<dt>Newest only</dt><dd>yes</dd>" in client.get("/repos/exporter/").content.decode()
    assert "Newest only" not in client.get("/repos/importer/").content.decode()


def test_a_repository_whose_name_holds_a_slash_has_a_page_too(client: Client):
    rows.repository("team/exporter")
    assert client.get("/repos/team/exporter/").status_code == 200


def test_a_repository_that_is_not_there_is_a_page_that_says_so(client: Client):
    answer = client.get("/repos/nothing/", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.content.decode()
