import gettext
import re

import pytest
from django.conf import settings
from django.test import Client

from tests.support import rows

CATALOG = settings.BASE_DIR / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.mo"
#: Texts of pages come from templates and from these modules; all other Python speaks English (API, history, reasons), which
#: ci_portal.api.sentences translates where pages show it.
MODULES = [
    "repos/forms.py",
    "events/pages.py",
    "ci_portal/pages.py",
    "ci_portal/repository_page.py",
    "ci_portal/script_texts.py",
    "ci_portal/templatetags/plots.py",
    "ci_portal/templatetags/portal.py",
    "runners/reconcile.py",
    "runners/reconcile_page.py",
    "runners/remedies.py",
]


def texts() -> set[str]:
    found: set[str] = set()
    for template in (settings.BASE_DIR / "templates").rglob("*.html"):
        source = template.read_text(encoding="utf-8")
        found.update(text for _, text in re.findall(r"""\{% translate (["'])(.*?)\1""", source))
        for block in re.findall(r"\{% blocktranslate[^%]*%\}(.*?)\{% endblocktranslate %\}", source, re.S):
            block = block.split("{% plural %}")[0]
            found.add(re.sub(r"\{\{ (\w+) \}\}", r"%(\1)s", block))
    for module in MODULES:
        source = (settings.BASE_DIR / module).read_text(encoding="utf-8")
        found.update(re.findall(r'(?:\b_|\bgettext_lazy)\(\s*"((?:[^"\\]|\\.)*)"', source))
    return found


@pytest.mark.parametrize("text", sorted(texts()))
def test_every_text_of_the_pages_is_chinese_too(text):
    with CATALOG.open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog
    assert text in catalog or (text, 0) in catalog


def test_no_translation_is_empty_and_each_keeps_its_placeholders():
    with CATALOG.open("rb") as file:
        catalog = gettext.GNUTranslations(file)._catalog
    for text, translated in catalog.items():
        assert translated or not text, text
        if isinstance(text, str):  # of a plural's forms, that for one may leave its number out
            assert sorted(re.findall(r"%\(\w+\)s|\{\w+\}", text)) == sorted(re.findall(r"%\(\w+\)s|\{\w+\}", translated)), text


@pytest.mark.django_db
def test_a_browser_that_prefers_chinese_gets_it(client: Client):
    event = rows.event(rows.repository(), status="4")
    rows.run(event)
    page = client.get(f"/builds/{event.pk}/", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).content.decode()
    assert '<html lang="zh-hans">' in page
    assert "失败" in page
    assert ">failed<" not in page


@pytest.mark.django_db
def test_the_switch_in_the_header_changes_the_language_and_stays_on_the_page(client: Client):
    answer = client.post("/i18n/setlang/", {"language": "zh-hans", "next": "/builds/?state=failed"})
    assert answer["Location"] == "/builds/?state=failed"
    assert '<html lang="zh-hans">' in client.get("/builds/").content.decode()
    client.post("/i18n/setlang/", {"language": "en", "next": "/"})
    assert '<html lang="en">' in client.get("/builds/").content.decode()
