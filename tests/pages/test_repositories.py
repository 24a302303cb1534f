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
    assert '<span class="code">buildv202611230800</span>' in page
    assert '<span class="code">buildv202611230700</span>' not in page
    assert "failed" in page


def test_it_tells_in_words_what_its_plot_of_the_last_builds_shows(client: Client):
    exporter = rows.repository("exporter")
    for status in ("3", "3", "4"):
        rows.event(exporter, status=status)
    assert 'aria-label="The last 3 builds: 1 failed, 2 succeeded"' in client.get("/").content.decode()


def test_it_shows_a_last_event_that_another_tool_recorded(client: Client):
    rows.repository("exporter")
    recorded = rows.event(None, repo="exporter", managed=False, status="9")
    page = client.get("/").content.decode()
    assert f'href="/builds/{recorded.pk}/"' in page
    assert 'class="state state-unknown"' in page


def test_it_asks_the_database_the_same_number_of_times_for_one_and_for_many(client: Client, django_assert_num_queries):
    rows.event(rows.repository("first"))
    client.get("/")
    with django_assert_num_queries(4):  # how many, which, and their last builds in two
        client.get("/")
    for number in range(30):
        rows.event(rows.repository(f"more-{number}"))
    with django_assert_num_queries(4):
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


@pytest.mark.parametrize(
    ("sort", "names"), [("", ["b", "a", "c"]), ("recent", ["b", "a", "c"]), ("name", ["a", "b", "c"]), ("added", ["a", "c", "b"])]
)
def test_it_is_ordered_as_one_likes(client: Client, sort, names):
    b, _, a = (rows.repository(name) for name in "bca")
    rows.event(a)
    rows.event(b)
    assert re.findall(r'<tr data-key="\d+" data-repo="(\w)"', client.get("/", {"sort": sort}).content.decode()) == names


def test_a_list_that_has_not_changed_is_not_sent_again(client: Client):
    exporter = rows.repository()
    event = rows.event(exporter, status="2")
    first = client.get("/", headers={"X-Live": "1"})
    assert first["Vary"].startswith("X-Live") or "X-Live" in first["Vary"]
    assert client.get("/", headers={"X-Live": "1", "If-None-Match": first["ETag"]}).status_code == 304
    type(event).objects.update(status="3")
    assert client.get("/", headers={"X-Live": "1", "If-None-Match": first["ETag"]}).status_code == 200


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
            r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=|javascript:|https?://(?!git\.example|testserver)",
            page,
        )
