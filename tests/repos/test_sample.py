import http.client
import os
import ssl
import subprocess

from repos.git import Remote, look_inside, resolve
from repos.sample import FILES, create_sample
from repos.sample_certificate import ensure_certificates
from repos.sample_server import GitHttpsServer


def test_the_sample_is_the_same_commit_every_time(tmp_path):
    first = create_sample(tmp_path / "one")
    assert create_sample(tmp_path / "one") == first
    assert create_sample(tmp_path / "two") == first


def test_the_sample_can_be_cloned_whole_over_https(tmp_path):
    create_sample(tmp_path / "git")
    certificates = ensure_certificates(tmp_path / "tls", ["localhost", "127.0.0.1"])
    with GitHttpsServer(tmp_path / "git", certificates) as server:
        _git(certificates.authority, "clone", "--quiet", server.url("sample.git"), str(tmp_path / "clone")).check_returncode()
    assert {name: (tmp_path / "clone" / name).read_text() for name in FILES} == dict(FILES)


def test_the_portal_can_look_into_the_sample(tmp_path):
    commit = create_sample(tmp_path / "git")
    certificates = ensure_certificates(tmp_path / "tls", ["localhost"])
    with GitHttpsServer(tmp_path / "git", certificates) as server:
        remote = Remote(server.url("sample.git"), ca_pem=certificates.authority.read_text())
        resolved = resolve(remote)
        assert (resolved.ref, resolved.commit) == ("refs/heads/main", commit)
        assert look_inside(remote, resolved, [("dockerfile", "Dockerfile", "file")]) == []


def test_the_sample_needs_nothing_but_itself():
    instructions = [line.split()[0] for line in FILES["Dockerfile"].splitlines() if not line.startswith(" ")]
    assert FILES["Dockerfile"].startswith("FROM scratch\n")
    assert set(instructions) == {"FROM", "LABEL", "COPY"}


def test_certificates_are_kept_until_other_names_are_wanted(tmp_path):
    first = ensure_certificates(tmp_path, ["localhost"]).server.read_bytes()
    assert ensure_certificates(tmp_path, ["localhost"]).server.read_bytes() == first
    assert ensure_certificates(tmp_path, ["localhost", "127.0.0.1"]).server.read_bytes() != first


def test_the_servers_key_is_private(tmp_path):
    assert ensure_certificates(tmp_path / "tls", ["localhost"]).key.stat().st_mode & 0o777 == 0o600


def test_nobody_can_push(server, app, tmp_path):
    commit = app.commit({"a": "1"})
    authority, clone = tmp_path / "tls" / "ca.crt", str(tmp_path / "clone")
    _git(authority, "clone", "--quiet", server.url("app.git"), clone).check_returncode()
    _git(authority, "-C", clone, "commit", "--quiet", "--allow-empty", "--message", "x").check_returncode()
    assert _git(authority, "-C", clone, "push", "--quiet").returncode != 0
    assert server.asked("app.git")[-1] == ("refs", 404)
    assert app.git("rev-parse", "refs/heads/main") == commit


def test_nothing_outside_the_root_is_served(server, app):
    assert server.url("app.git").startswith("https://localhost:")
    assert not server.holds("../tls")
    statuses = [_status(server, path) for path in ("/../git/app.git/info/refs", "/app.git/config", "/app.git/HEAD", "/")]
    assert statuses == [404, 404, 404, 404]


def _status(server, path):
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=ssl.create_default_context(cadata=server.ca_pem))
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def _git(authority, *arguments):
    person = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    environment = {**os.environ, "GIT_SSL_CAINFO": str(authority)}
    return subprocess.run(["git", *person, *arguments], env=environment, capture_output=True)
