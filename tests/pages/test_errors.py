import pytest
from django.test import Client, RequestFactory
from django.utils import translation

from ci_portal.api import problems

HTML = {"Accept": "text/html"}


def test_a_fault_of_the_portal_is_told_on_a_page_of_its_own():
    answer = problems.server_error(RequestFactory().get("/builds/", headers=HTML))
    assert answer.status_code == 500
    assert "<h1>Something broke</h1>" in answer.content.decode()


def test_it_is_told_in_chinese_too():
    with translation.override("zh-hans"):
        assert "<h1>出错了</h1>" in problems.server_error(RequestFactory().get("/builds/", headers=HTML)).content.decode()


def test_what_nobody_may_do_is_told_on_a_page():
    answer = problems.forbidden(RequestFactory().get("/builds/", headers=HTML), PermissionError())
    assert answer.status_code == 403
    assert "<h1>Not allowed</h1>" in answer.content.decode()


@pytest.mark.django_db
def test_a_form_without_its_token_is_told_on_a_page():
    answer = Client(enforce_csrf_checks=True).post("/i18n/setlang/", {"language": "en"}, headers=HTML)
    assert answer.status_code == 403
    assert "<h1>The form is too old</h1>" in answer.content.decode()


@pytest.mark.django_db
def test_an_unknown_address_is_told_on_a_page(client: Client):
    answer = client.get("/nothing/", headers=HTML)
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.content.decode()
