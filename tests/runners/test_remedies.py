"""Every cause has a remedy, in English and Chinese, and every failure that a backend tells of has a cause."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from repos.forms import RepositoryForm
from runners.backends import diagnosis, local_reasons
from runners.backends.causes import Cause, of_report
from runners.backends.local_steps import __file__ as local_steps
from runners.remedies import REMEDIES
from tests.support import rows


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_remedy_in_both_languages(cause):
    remedy = REMEDIES[cause]
    with translation.override("en"):
        english = (str(remedy.title), str(remedy.advice))
    with translation.override("zh-hans"):
        chinese = (str(remedy.title), str(remedy.advice))
    assert all(english)
    for before, after in zip(english, chinese, strict=True):
        assert before != after
        assert re.search(r"[\u4e00-\u9fff]", after)


@pytest.mark.parametrize("cause", Cause)
def test_a_remedy_leads_to_a_setting_that_there_is(cause):
    remedy = REMEDIES[cause]
    if remedy.field:
        assert remedy.field in RepositoryForm.base_fields
    if remedy.key:
        section, key = remedy.key.split(".")
        assert key in type(getattr(settings.PORTAL, section)).model_fields


SLUGS = {*diagnosis._CLONE_ERRORS, *(slug for _, slug, _ in (*diagnosis._GIT, *diagnosis._REGISTRY))}
FOUND = re.findall(r'Diagnosis\((?:error or )?"(\w+)"', Path(diagnosis.__file__).read_text())
SAID = re.findall(r'StepFailed\("(\w+)"', Path(local_steps).read_text())
SCRIPTS = [
    slug
    for script in (settings.BASE_DIR / "runners" / "backends" / "scripts").glob("*.sh")
    for slug in re.findall(r"\bfail (\w+) '", script.read_text())
]


@pytest.mark.parametrize("slug", sorted({*SLUGS, *FOUND, *SAID, *SCRIPTS}))
def test_whatever_a_container_reports_is_a_cause(slug):
    assert Cause(slug) in REMEDIES


@pytest.mark.parametrize("outcome", ["timeout", "stopped", "disk_limit", "disk_low", "disk_full", "broken"])
def test_whatever_ends_a_local_build_is_a_cause(outcome):
    assert local_reasons.cause_of({"outcome": outcome}, ()) in REMEDIES


@pytest.mark.parametrize("sentence", [local_reasons.LOST, local_reasons.LOST_HERE, local_reasons.RESTARTED])
def test_a_lost_supervisor_is_a_cause(sentence):
    assert local_reasons.cause_of_loss(sentence) in REMEDIES


@pytest.mark.parametrize(("container", "cause"), [("clone", "clone_failed"), ("build", "build_failed"), ("push", "push_failed")])
def test_a_report_that_names_no_cause_is_that_of_its_step(container, cause):
    assert of_report(container, "<script>") == cause
    assert of_report(container, None) == cause


@pytest.mark.django_db
def test_causes_fit_into_their_column():
    longest = max(Cause, key=len)
    run = rows.run(rows.event(rows.repository(), status="1"))
    run.finish("failed", reason="No.", cause=longest)
    run.refresh_from_db()
    assert run.cause == longest
