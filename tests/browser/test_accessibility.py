"""axe-core finds nothing on any page of lists, forms and errors, in both schemes and languages; each is photographed on the way."""

import pytest
from django.template import loader
from django.utils import timezone, translation
from playwright.sync_api import Page, Route, expect

from repos.credentials import store_git_login
from tests.browser.axe import faults
from tests.browser.everybody import WIDTHS, for_everybody, photograph
from tests.support import rows

pytestmark = [pytest.mark.needs_browser, pytest.mark.django_db(transaction=True)]

PATHS = {
    "home": "/",
    "home without a hit": "/?q=nothing",
    "builds": "/builds/",
    "builds filtered": "/builds/?state=failed&who=ada",
    "builds without a hit": "/builds/?who=nobody",
    "builds filter not understood": "/builds/?state=sleeping",
    "repository": "/repos/exporter/",
    "repository never built": "/repos/fresh/",
    "settings": "/repos/exporter/-/edit/",
    "not found": "/nothing/",
}


@pytest.fixture
def lists() -> None:
    """A portal with something in every state."""
    exporter = rows.repository("exporter", name="Exporter", desc="Metrics for everybody")
    store_git_login(exporter, "ada", "s3cret-token")
    rows.repository("fresh")
    for status in ("3", "4", "5", "3"):
        event = rows.event(exporter, status=status, created_by="ada", reason="It went wrong." if status == "4" else "")
        rows.run(event, started_at=event.ctime)
    waiting, running = rows.event(exporter, status="1"), rows.event(exporter, status="2", ref="refs/tags/v1")
    rows.run(waiting)
    rows.run(running, status="running", started_at=timezone.now())
    rows.event(None, managed=False, status="9", repo="elsewhere")
    exporter.logs.create(msg="branch changed to release", actor="ada")


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PATHS)
def test_axe_finds_nothing(page: Page, name, scheme):
    page.emulate_media(color_scheme=scheme)
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(PATHS[name])
        photograph(page, f"{name}-{width}-{scheme}-en")
        if width != WIDTHS[-1]:
            found[width] = faults(page)
    assert found == {360: [], 1280: []}


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("name", PATHS)
def test_axe_finds_nothing_in_chinese(page: Page, live_server, name):
    page.context.add_cookies([{"name": "django_language", "value": "zh-hans", "url": live_server.url}])
    page.goto(PATHS[name])
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    photograph(page, f"{name}-1280-light-zh")
    assert faults(page) == []


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "429", "500", "503"])
def test_what_went_wrong_is_told_to_everybody(page: Page, name):
    def answer(route: Route) -> None:
        """As the portal does: some of these pages are drawn without a request."""
        with translation.override("zh-hans" if "zh-hans" in route.request.headers.get("cookie", "") else "en"):
            body = loader.get_template(f"{name}.html").render({"wait": 30})
        route.fulfill(status=int(name[:3]), content_type="text/html; charset=utf-8", body=body)

    page.route("**/wrong/", answer)
    page.goto("/wrong/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for_everybody(page, f"error {name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_an_empty_portal(page: Page, scheme):
    page.emulate_media(color_scheme=scheme)
    for path in ("/", "/builds/"):
        page.goto(path)
        photograph(page, f"empty{path.replace('/', '-')}-{scheme}")
        assert faults(page) == []


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_what_opens(page: Page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.route(
        "**/check/refs/", lambda route: route.fulfill(json={"default": "main", "branches": ["main"], "tags": [], "cut": False})
    )
    page.goto("/")
    page.get_by_label("Git URL").fill("https://127.0.0.1:9/team/app.git")
    page.get_by_text("More settings").click()
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#test_result li").first).to_be_visible()
    photograph(page, f"adding-{scheme}")
    assert faults(page) == []
    page.locator("#scheme summary").click()
    assert faults(page) == []
    page.goto("/repos/exporter/")
    page.get_by_role("button", name="Choose branch or tag…").click()
    photograph(page, f"choosing-{scheme}")
    assert faults(page) == []
    page.goto("/repos/fresh/-/edit/")
    page.get_by_role("button", name="Delete…").click()
    photograph(page, f"deleting-{scheme}")
    assert faults(page) == []
    page.goto("/builds/")
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    photograph(page, f"cancelling-{scheme}")
    assert faults(page) == []
