"""What the web server writes about requests holds nothing of their query strings."""

from pathlib import Path

import pytest

from tests.support.portal import portal

SECRET = "s3cret-in-a-query"


def test_the_development_server_logs_no_query_strings(tmp_path: Path):
    with portal(tmp_path) as running:
        running.get(f"/repo/?repo=https://ci-bot:{SECRET}@git.example.com/team/app.git")
        running.get(f"/builds/?repo={SECRET}")
        running.get(f"/nothing/?token={SECRET}")
        log = (tmp_path / "web.log").read_text()
    assert '"GET /builds/ HTTP/1.1" 200' in log
    assert SECRET not in log


@pytest.mark.django_db
def test_a_token_in_the_query_of_a_check_is_refused_not_ignored(client):
    answer = client.post(f"/check/?token={SECRET}", {"repo": "app"}, content_type="application/json")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "token")
    assert SECRET not in answer.content.decode()
