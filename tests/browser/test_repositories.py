import re

import pytest
from playwright.sync_api import Page, expect

from repos.credentials import git_login
from repos.models import Repository
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def test_a_repository_is_added_and_listed_without_a_reload(page: Page):
    page.goto("/")
    page.evaluate("window.mark = 'still here'")
    page.get_by_label("Name", exact=True).fill("exporter")
    page.get_by_label("Git URL").fill("https://git.example.com/team/exporter.git")
    page.get_by_text("Login, branch, image and more").click()
    page.get_by_label("Branch").fill("release")
    page.get_by_label("Newest only").check()
    page.get_by_role("button", name="Add repository").click()
    expect(page.locator("#repositories tr", has_text="exporter")).to_contain_text("Not built yet")
    expect(page.locator("#notice")).to_have_text("exporter was added.")
    assert page.evaluate("window.mark") == "still here"
    added = Repository.objects.get(repo_name="exporter")
    assert (added.branch, added.supersede) == ("release", True)


def test_an_error_stands_beside_its_field_and_leaves_what_was_typed(page: Page):
    rows.repository("exporter")
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("exporter")
    page.get_by_label("Git URL").fill("file:///etc/passwd")
    page.get_by_role("button", name="Add repository").click()
    for name in ("repo_name", "repo"):
        field = page.locator(f'[data-field="{name}"]')
        expect(field.locator(".error")).not_to_be_empty()
        expect(field.locator("input")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#add_repo_name")).to_be_focused()
    expect(page.locator("#add_repo")).to_have_value("file:///etc/passwd")
    assert Repository.objects.count() == 1


def test_an_error_in_a_folded_field_is_unfolded(page: Page):
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("exporter")
    page.get_by_label("Git URL").fill("https://git.example.com/team/exporter.git")
    page.get_by_text("Login, branch, image and more").click()
    page.get_by_label("Dockerfile").fill("../../etc/passwd")
    page.get_by_text("Login, branch, image and more").click()
    page.get_by_role("button", name="Add repository").click()
    expect(page.locator('[data-field="dockerfile"] .error')).to_be_visible()


def test_a_login_in_the_url_moves_to_its_own_fields_and_is_stored_apart(page: Page):
    page.goto("/")
    page.get_by_label("Name", exact=True).fill("exporter")
    page.get_by_label("Git URL").fill("https://ada:s3cr%40t-token@git.example.com/team/exporter.git")
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#test_result")).to_contain_text("Not everything is right yet")
    expect(page.locator("#add_repo")).to_have_value("https://git.example.com/team/exporter.git")
    expect(page.locator("#add_git_user")).to_have_value("ada")
    expect(page.locator("#add_git_token")).to_have_value("s3cr@t-token")
    expect(page.locator("#add_git_token")).to_have_attribute("type", "password")
    page.get_by_role("button", name="Add repository").click()
    expect(page.locator("#repositories tr", has_text="exporter")).to_be_visible()
    expect(page.locator("#add_git_token")).to_have_value("")
    login = git_login(Repository.objects.get(repo_name="exporter"))
    assert (login.username, login.password) == ("ada", "s3cr@t-token")
    assert "s3cr" not in page.content()


def test_a_pasted_login_is_moved_at_once(page: Page):
    page.goto("/")
    page.evaluate(
        """() => {
            const field = document.getElementById('add_repo');
            field.focus();
            document.execCommand('insertText', false, 'https://ada:s3cret@git.example.com/exporter.git');
            field.dispatchEvent(new ClipboardEvent('paste'));
        }"""
    )
    expect(page.locator("#add_repo")).to_have_value("https://git.example.com/exporter.git")
    expect(page.locator("#add_git_token")).to_be_visible()
    expect(page.locator("#add_git_token")).to_have_value("s3cret")


def test_what_cannot_be_built_says_so_in_a_sentence(page: Page):
    rows.repository("exporter", repo="https://127.0.0.1:9/team/exporter.git")
    page.goto("/")
    page.get_by_role("button", name="Build").click()
    expect(page.locator("#notice")).to_contain_text("exporter was not built: 127.0.0.1 accepts no connection")
    expect(page.get_by_role("button", name="Build")).to_be_enabled()


def test_test_connection_shows_each_check_and_what_to_correct(page: Page):
    page.goto("/")
    page.get_by_label("Git URL").fill("https://127.0.0.1:9/team/exporter.git")
    page.get_by_role("button", name="Test connection").click()
    checks = page.locator("#test_result")
    expect(checks).to_contain_text("Not everything is right yet")
    expect(checks.locator("li").first).to_contain_text("Repository: failed")
    expect(checks.locator("li").nth(1)).to_contain_text("not checked")
    expect(page.locator('[data-field="repo"] .error')).to_be_visible()


def test_test_connection_asks_for_the_url_first(page: Page):
    page.goto("/")
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator('[data-field="repo"] .error')).to_have_text("Enter the git URL first.")


def test_names_are_text_and_never_markup(page: Page):
    name = "<img src=x onerror=alert(1)>"
    rows.repository(name, repo="https://127.0.0.1:9/x.git")
    page.goto("/")
    page.get_by_role("button", name="Build").click()
    expect(page.locator("#notice")).to_contain_text(name)
    assert page.locator("img").count() == 0


def test_the_language_is_switched_in_the_header(page: Page):
    page.goto("/builds/?state=failed")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("h1")).to_have_text("构建")
    assert re.search(r"/builds/\?state=failed$", page.url)


def test_the_form_works_by_keyboard_alone(page: Page):
    page.goto("/")
    page.locator("#add_repo_name").focus()
    page.keyboard.type("exporter")
    page.keyboard.press("Tab")
    page.keyboard.type("https://git.example.com/team/exporter.git")
    page.keyboard.press("Enter")
    expect(page.locator("#repositories tr", has_text="exporter")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/builds/", "/repos/exporter/"])
def test_no_page_is_wider_than_a_small_phone(page: Page, path):
    exporter = rows.repository("exporter", repo="https://git.example.com/" + "a-very-long-path/" * 9 + "exporter.git")
    rows.event(exporter, status="4", image="registry.example.com/" + "team-with-a-long-name/" * 6 + "exporter")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
