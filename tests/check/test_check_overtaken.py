"""A build that ends before the request that launched it has answered."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from ci_portal import check as checking
from runners.models import Run

pytestmark = pytest.mark.django_db


def test_a_build_that_fails_while_its_request_is_still_busy_was_not_refused(check, monkeypatch: pytest.MonkeyPatch):
    """The web process is slow, and the watcher settles a build that finds no Dockerfile before the answer is written."""

    def launch(run: Run, who: str) -> Run:
        assert run.claim_launch(who, timezone.now() + timedelta(seconds=60))
        assert run.launched()
        assert run.finish(Run.FAILED, reason="There is no such Dockerfile.")
        return run

    monkeypatch.setattr(checking, "configured_backend", lambda: SimpleNamespace(launches_in_request=True))
    monkeypatch.setattr(checking, "launch", launch)
    answer = check()
    assert (answer.status_code, answer.json()["event"]["status"]) == (202, "4")
