import pytest
from playwright.sync_api import Page, Route, expect

from repos.credentials import git_login
from repos.models import Repository
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]


def add(page: Page, url: str) -> None:
    page.get_by_label("Git URL").fill(url)
    page.get_by_label("Git URL").blur()


def test_a_url_is_enough_to_add_a_repository_and_it_is_listed_without_a_reload(page: Page):
    page.goto("/")
    page.evaluate("window.mark = 'still here'")
    add(page, "https://git.example.com/team/exporter.git")
    expect(page.get_by_label("Name", exact=True)).to_have_value("exporter")
    page.get_by_label("Branch").fill("release")
    page.get_by_text("More settings").click()
    page.get_by_label("Newest only").check()
    page.get_by_role("button", name="Add repository").click()
    expect(page.locator("#repositories tr", has_text="exporter")).to_contain_text("Not built yet")
    expect(page.locator(".toast")).to_contain_text("exporter was added.")
    expect(page.locator(".toast").get_by_role("button", name="Build now")).to_be_visible()
    expect(page.get_by_label("Git URL")).to_have_value("")
    assert page.evaluate("window.mark") == "still here"
    added = Repository.objects.get(repo_name="exporter")
    assert (added.branch, added.supersede) == ("release", True)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example.com/team/exporter.git", "exporter"),
        ("https://git.example.com/team/exporter/", "exporter"),
        ("git@git.example.com:team/exporter.git", "exporter"),
        ("ssh://git@git.example.com:2222/team/My%20App.git", "My-20App"),
        ("https://git.example.com/team/2048.git", "repo-2048"),
        ("https://git.example.com", ""),
    ],
)
def test_a_name_is_suggested(page: Page, url, name):
    page.goto("/")
    script = "async (url) => (await import('/static/repos/login.js')).suggestedName(url)"
    assert page.evaluate(script, url) == name


def test_a_name_of_ones_own_is_left_alone(page: Page):
    page.goto("/")
    add(page, "https://git.example.com/team/exporter.git")
    page.get_by_label("Name", exact=True).fill("mine")
    add(page, "https://git.example.com/team/other.git")
    expect(page.get_by_label("Name", exact=True)).to_have_value("mine")


def test_an_ssh_url_asks_for_a_key_and_an_https_url_for_a_login(page: Page):
    page.goto("/")
    add(page, "git@git.example.com:team/exporter.git")
    expect(page.get_by_label("Deploy key")).to_be_visible()
    expect(page.get_by_label("Git user")).to_be_hidden()
    add(page, "https://git.example.com/team/exporter.git")
    expect(page.get_by_label("Deploy key")).to_be_hidden()
    expect(page.get_by_label("Git user")).to_be_visible()


def test_an_error_stands_beside_its_field_and_leaves_what_was_typed(page: Page):
    rows.repository("exporter")
    page.goto("/")
    add(page, "file:///etc/passwd")
    page.get_by_label("Name", exact=True).fill("exporter")
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
    add(page, "https://git.example.com/team/exporter.git")
    page.get_by_text("More settings").click()
    page.get_by_label("Dockerfile").fill("../../etc/passwd")
    page.get_by_text("More settings").click()
    page.get_by_role("button", name="Add repository").click()
    expect(page.locator('[data-field="dockerfile"] .error')).to_be_visible()


def test_a_login_in_the_url_moves_to_its_own_fields_and_is_stored_apart(page: Page):
    page.goto("/")
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


def test_branches_and_tags_of_the_remote_are_offered(page: Page):
    asked = []

    def answer(route: Route) -> None:
        asked.append(route.request.post_data_json)
        route.fulfill(json={"default": "trunk", "branches": ["trunk", "next"], "tags": ["v2", "v1"], "cut": False})

    page.route("**/check/refs/", answer)
    page.goto("/")
    add(page, "https://ada:s3cret@git.example.com/team/exporter.git")
    page.get_by_label("Branch").focus()
    expect(page.locator("#add_branch_list option")).to_have_count(2)
    expect(page.locator("#add_tag_list option").first).to_have_attribute("value", "v2")
    expect(page.get_by_label("Branch")).to_have_attribute("placeholder", "trunk")
    expect(page.locator("#add_branch_helptext")).to_contain_text("branches: 2, tags: 2")
    page.get_by_label("Tag", exact=True).focus()
    assert asked == [{"repo": "https://git.example.com/team/exporter.git", "user": "ada", "token": "s3cret"}]


def test_what_cannot_be_built_says_so_in_a_sentence(page: Page):
    rows.repository("exporter", repo="https://127.0.0.1:9/team/exporter.git")
    page.goto("/")
    page.get_by_role("button", name="Build exporter").click()
    expect(page.locator(".toast")).to_contain_text("exporter was not built: 127.0.0.1 accepts no connection")
    expect(page.get_by_role("button", name="Build exporter")).to_be_enabled()
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".toast")).to_have_count(0)


def test_two_clicks_start_one_build(page: Page):
    rows.repository("exporter")
    asked = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        page.wait_for_timeout(300)
        route.fulfill(status=424, json={"detail": "The remote is away."})

    page.route("**/check/", answer)
    page.goto("/")
    page.get_by_role("button", name="Build exporter").dblclick()
    expect(page.locator(".toast")).to_contain_text("The remote is away.")
    assert len(asked) == 1


def test_test_connection_shows_each_check_and_what_to_correct(page: Page):
    page.goto("/")
    add(page, "https://127.0.0.1:9/team/exporter.git")
    page.get_by_role("button", name="Test connection").click()
    checks = page.locator("#test_result")
    expect(checks).to_contain_text("Not everything is right yet")
    expect(checks.locator("li").first).to_contain_text("Repository: failed")
    expect(checks.locator("li").nth(1)).to_contain_text("not checked")
    expect(page.locator('[data-field="repo"] .error')).to_be_visible()


@pytest.mark.parametrize("button", ["Test connection", "Add repository"])
def test_the_url_is_asked_for_first(page: Page, button):
    page.goto("/")
    page.get_by_role("button", name=button).click()
    expect(page.locator('[data-field="repo"] .error')).to_have_text("Enter the git URL first.")
    expect(page.get_by_label("Git URL")).to_be_focused()


def test_names_are_text_and_never_markup(page: Page):
    name = "<img src=x onerror=alert(1)>"
    rows.repository(name, repo="https://127.0.0.1:9/x.git")
    page.goto("/")
    page.get_by_role("button", name=f"Build {name}").click()
    expect(page.locator(".toast")).to_contain_text(name)
    assert page.locator("img").count() == 0


def test_the_form_works_by_keyboard_alone(page: Page):
    page.goto("/")
    page.locator("#add_repo").focus()
    page.keyboard.type("https://git.example.com/team/exporter.git")
    page.keyboard.press("Enter")
    expect(page.locator("#repositories tr", has_text="exporter")).to_be_visible()


def test_a_slash_goes_to_the_search(page: Page):
    rows.repository("exporter")
    page.goto("/")
    page.locator("h2").first.click()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.locator("#search")).to_have_value("a/b")


@pytest.mark.parametrize("width", [320, 360])
@pytest.mark.parametrize(
    "path", ["/", "/builds/?repo=exporter&who=ada", "/repos/exporter/", "/repos/exporter/-/edit/", "/nothing/"]
)
def test_no_page_is_wider_than_a_small_phone(page: Page, path, width):
    exporter = rows.repository(
        "exporter", repo="https://git.example.com/" + "a-very-long-path/" * 9 + "exporter.git", desc="x" * 200
    )
    rows.event(exporter, status="4", image="registry.example.com/" + "team-with-a-long-name/" * 6 + "exporter", reason="y" * 400)
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
