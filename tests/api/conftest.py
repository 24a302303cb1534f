import pytest
from rest_framework.test import APIClient

from events.models import Event
from repos.models import Repository
from runners.models import Run, new_uid


@pytest.fixture
def api(db):
    """A script that speaks to the portal, with auth.mode open."""
    return APIClient()


@pytest.fixture
def repository(db):
    return Repository.objects.create(
        repo_name="prometh_exporter", repo="https://git.example.com/team/prometh_exporter.git", branch="main"
    )


@pytest.fixture
def managed_event(repository):
    """An event that the portal runs, with its run."""
    event = Event.objects.create(
        name="event-1", repo=repository.repo_name, repository=repository, managed=True, status=Event.RUNNING
    )
    Run.objects.create(name="run-1", event=event, managed=True, status=Run.RUNNING, uid=new_uid())
    return event
