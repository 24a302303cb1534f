"""`/credentials/`: how old credentials are, when they were used, when certificates end; never what they are."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.utils import timezone
from pydantic import SecretStr

from repos.credentials import mark_used, store, store_git_login
from repos.models import Credential
from tests.support import rows

pytestmark = pytest.mark.django_db


def certificate(days: int) -> str:
    """A certificate that ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "team")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=900)).not_valid_after(now + timedelta(days=days, hours=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def conf(settings, tmp_path: Path) -> Path:
    """The folder conf/ of this portal."""
    (tmp_path / "ca").mkdir()
    settings.PORTAL = settings.PORTAL.model_copy(update={"conf_folder": str(tmp_path)})
    return tmp_path


def page(client: Client, query: str = "") -> str:
    answer = client.get(f"/credentials/{query}")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_tells_age_and_last_use_and_nothing_else(client: Client):
    repository = rows.repository()
    store_git_login(repository, "secret-user", "secret-token")
    assert "never" in page(client)
    mark_used(repository)
    Credential.objects.update(created_at=timezone.now() - timedelta(days=40))
    shown = page(client)
    assert "1 month ago" in shown
    assert "just now" in shown
    assert "older than" not in shown
    assert not [secret for secret in ("secret-user", "secret-token", Credential.objects.get().ciphertext) if secret in shown]


def test_it_warns_of_old_ones(client: Client, settings):
    store_git_login(rows.repository(), "u", "t")
    Credential.objects.update(created_at=timezone.now() - timedelta(days=366))
    shown = page(client)
    assert "older than 365 days" in shown
    assert "1 repository on this page needs care." in shown
    never = settings.PORTAL.secrets.model_copy(update={"max_age_days": 0})
    settings.PORTAL = settings.PORTAL.model_copy(update={"secrets": never})
    assert "older than" not in page(client)


def test_it_says_what_no_key_opens(client: Client, settings):
    store(Credential.SSH_KEY, {"key": "private"}, repository=rows.repository())
    other = settings.PORTAL.secrets.model_copy(update={"keys": [SecretStr(Fernet.generate_key().decode())]})
    settings.PORTAL = settings.PORTAL.model_copy(update={"secrets": other})
    shown = page(client)
    assert "deploy key" in shown
    assert "no key of secrets.keys opens it" in shown


@pytest.mark.parametrize(("days", "told", "care"), [(-1, "expired", True), (29, "expires", True), (31, "until", False)])
def test_it_tells_when_a_certificate_ends(client: Client, conf: Path, days: int, told: str, care: bool):
    (conf / "ca" / "team-ca.crt").write_text(certificate(400) + certificate(days))
    rows.repository(ca_secret="team-ca")
    shown = page(client)
    day = (datetime.now(UTC) + timedelta(days=days, hours=1)).strftime("%Y-%m-%d")
    assert f"{told} <time" in shown
    assert f'title="{day} ' in shown
    assert ("needs care" in shown) is care


def test_it_says_why_an_end_is_not_known(client: Client, conf: Path):
    (conf / "ca" / "odd.crt").write_text("no certificate")
    rows.repository("one", ca_secret="odd")
    rows.repository("two", ca_secret="missing")
    shown = page(client)
    assert shown.count("end unknown") == 2
    assert "there is no certificate named" in shown


def test_the_oldest_come_first_and_repositories_without_any_are_left_out(client: Client):
    for name, days in (("newer", 1), ("older", 9)):
        store_git_login(rows.repository(name), "u", "t")
        Credential.objects.filter(repository__repo_name=name).update(created_at=timezone.now() - timedelta(days=days))
    rows.repository("public")
    shown = page(client)
    assert 0 < shown.index(">older<") < shown.index(">newer<")
    assert "public<" not in shown
    assert ">newer<" not in page(client, "?q=old")


def test_an_empty_page_says_what_leads_there(client: Client):
    assert "No repository has credentials yet." in page(client)
    assert "No repository of this name" in page(client, "?q=x")


def test_many_repositories_cost_no_more_queries(client: Client, django_assert_max_num_queries):
    for number in range(60):
        store_git_login(rows.repository(f"r{number}"), "u", "t")
    with django_assert_max_num_queries(8):
        page(client)
