"""Builds that are recorded as checks record them, without asking a remote; the watchers launch them."""

import subprocess
import sys

from tests.support.portal import ROOT, Portal

#: Run in the portal's environment: record builds as a check does, and leave their launch to the watchers.
RECORD = """
import sys, django
django.setup()
from django.db import transaction
from repos.models import Repository
from runners.record import BuildSettings, Source, record
repositories, builds, commit = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for number in range(repositories):
    name = f"app-{number:02}"
    repository = Repository.objects.create(repo_name=name, repo=f"https://git.example/team/{name}.git")
    for _ in range(builds // repositories):
        with transaction.atomic():
            record(repository, Source("refs/heads/main", commit), BuildSettings(), "tests", force=True)
"""


def record_builds(portal: Portal, repositories: int, builds: int, commit: str) -> None:
    """Register so many repositories, app-00 and on, and record so many builds of this commit, as many of each repository."""
    command = [sys.executable, "-c", RECORD, str(repositories), str(builds), commit]
    done = subprocess.run(command, cwd=ROOT, env=portal.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
