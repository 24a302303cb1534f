import pytest
from playwright.sync_api import Page, expect

from events.models import Event
from repos.credentials import git_login, store_git_login
from repos.models import Credential, Repository
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def test_a_branch_of_the_remote_is_chosen_and_built(page: Page):
    rows.repository("exporter", branch="main")
    started = rows.event(Repository.objects.get(), status="1")
    refs = {"default": "main", "branches": ["main", "feature/x"], "tags": ["v1"], "cut": False}
    page.route("**/check/refs/", lambda route: route.fulfill(json=refs))
    page.route("**/check/", lambda route: route.fulfill(status=202, json={"event": {"id": started.pk}}))
    page.goto("/repos/exporter/")
    page.get_by_role("button", name="Choose branch or tag…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#build_branch_list option")).to_have_count(2)
    dialog.get_by_role("textbox", name="Branch").or_(dialog.get_by_role("combobox", name="Branch")).fill("feature/x")
    with page.expect_request("**/check/") as asked:
        dialog.get_by_role("button", name="Build").click()
    assert asked.value.post_data_json == {"repo": "exporter", "branch": "feature/x"}
    page.wait_for_url(f"**/builds/{started.pk}/")


def test_a_tag_that_is_not_there_is_told_beside_its_field(page: Page):
    rows.repository("exporter")
    refused = {"detail": "The repository has no tag v9.", "errors": [{"field": "tag", "message": "x"}]}
    page.route("**/check/refs/", lambda route: route.fulfill(json={"default": "main", "branches": [], "tags": [], "cut": False}))
    page.route("**/check/", lambda route: route.fulfill(status=422, json=refused))
    page.goto("/repos/exporter/")
    page.get_by_role("button", name="Choose branch or tag…").click()
    page.get_by_role("dialog").get_by_text("Tag", exact=True).first.click()
    page.locator("#build_tag").fill("v9")
    page.get_by_role("dialog").get_by_role("button", name="Build").click()
    expect(page.locator("#build_tag_error")).to_have_text("The repository has no tag v9.")
    expect(page.locator("#build_tag")).to_be_focused()


def test_only_what_was_changed_is_sent(page: Page):
    exporter = rows.repository("exporter", branch="main")
    page.goto("/repos/exporter/-/edit/")
    Repository.objects.update(dockerfile="changed/meanwhile")
    page.get_by_label("Branch").fill("release")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url("**/repos/exporter/")
    expect(page.locator(".toast")).to_contain_text("The settings of exporter were saved.")
    exporter.refresh_from_db()
    assert (exporter.branch, exporter.dockerfile) == ("release", "changed/meanwhile")


def test_a_wrong_setting_is_told_beside_its_field_and_stays_as_typed(page: Page):
    rows.repository("exporter")
    page.goto("/repos/exporter/-/edit/")
    page.get_by_label("Dockerfile").fill("/etc/passwd")
    page.get_by_role("button", name="Save changes").click()
    expect(page.locator('[data-field="dockerfile"] .error')).to_be_visible()
    expect(page.get_by_label("Dockerfile")).to_be_focused()
    expect(page.get_by_label("Dockerfile")).to_have_value("/etc/passwd")


def test_credentials_are_replaced_and_removed_and_never_shown(page: Page):
    exporter = rows.repository("exporter")
    store_git_login(exporter, "ada", "first-token")
    page.goto("/repos/exporter/-/edit/")
    expect(page.locator("#edit_git_user")).to_be_hidden()
    git = page.locator('[data-kind="git"]')
    git.get_by_text("Replace").click()
    expect(page.locator("#edit_git_user")).to_have_value("")
    page.locator("#edit_git_user").fill("grace")
    page.get_by_label("Git token or password").fill("second-token")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url("**/repos/exporter/")
    assert git_login(Repository.objects.get()).password == "second-token"
    page.goto("/repos/exporter/-/edit/")
    git.get_by_text("Remove").click()
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url("**/repos/exporter/")
    assert not Credential.objects.exists()


def test_a_login_in_a_new_url_replaces_the_stored_one(page: Page):
    rows.repository("exporter")
    page.goto("/repos/exporter/-/edit/")
    page.get_by_label("Git URL").fill("https://ada:t0ken@git.example.com/team/other.git")
    page.get_by_label("Git URL").blur()
    expect(page.get_by_label("Git URL")).to_have_value("https://git.example.com/team/other.git")
    page.get_by_role("button", name="Save changes").click()
    page.wait_for_url("**/repos/exporter/")
    assert git_login(Repository.objects.get()).username == "ada"


def test_a_repository_is_deleted_once_its_name_was_typed(page: Page):
    exporter = rows.repository("exporter")
    rows.event(exporter, status="3")
    page.goto("/repos/exporter/-/edit/")
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 build")
    delete = dialog.get_by_role("button", name="Delete", exact=True)
    expect(delete).to_be_disabled()
    dialog.get_by_label("Type exporter to confirm").fill("exporter")
    delete.click()
    page.wait_for_url("**/")
    expect(page.locator(".toast")).to_contain_text("exporter was deleted.")
    assert not Repository.objects.exists()
    assert Event.objects.count() == 1


def test_a_deletion_that_is_refused_says_why(page: Page):
    rows.repository("exporter")
    page.goto("/repos/exporter/-/edit/")
    rows.event(Repository.objects.get(), status="2")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type exporter to confirm").fill("exporter")
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("is not finished")
    assert Repository.objects.exists()


def test_leaving_with_unsaved_changes_is_asked_about(page: Page):
    rows.repository("exporter")
    page.goto("/repos/exporter/-/edit/")
    page.get_by_label("Branch").fill("release")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_role("link", name="Leave unchanged").click()
    page.wait_for_url("**/repos/exporter/")
    assert asked == ["beforeunload"]


def test_the_badge_is_an_image_of_this_portal(page: Page):
    rows.event(rows.repository("exporter"), status="3")
    page.goto("/repos/exporter/")
    badge = page.get_by_alt_text("State of the last build")
    expect(badge).to_be_visible()
    assert page.evaluate("(image) => image.decode().then(() => image.naturalWidth > 60)", badge.element_handle())
