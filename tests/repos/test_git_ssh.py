import stat
import subprocess

import pytest

from repos import git, urls
from repos.credentials import GitLogin
from repos.git import Remote, resolve
from repos.git_environment import environment
from tests.support.ports import free_port

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot-a-real-one\n-----END OPENSSH PRIVATE KEY-----"


@pytest.fixture
def known_hosts(settings, tmp_path):
    path = tmp_path / "known hosts"
    path.write_text("git.example ssh-ed25519 AAAA\n")
    settings.PORTAL = settings.PORTAL.model_copy(update={"git": settings.PORTAL.git.model_copy(update={"known_hosts": str(path)})})
    return path


@pytest.fixture
def understood(known_hosts, tmp_path):
    """What the real ssh makes of the configuration that is written for a URL."""

    def ask(url):
        folder = tmp_path / "scratch"
        folder.mkdir()
        variables = environment(folder, url, urls.parts(url), ["192.0.2.7"], GitLogin(ssh_key=KEY), "")
        command = [*variables["GIT_SSH_COMMAND"].split(" "), "-G", urls.host(url)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {line.partition(" ")[0]: line.partition(" ")[2] for line in printed.splitlines()}

    return ask


def test_ssh_dials_the_judged_address_and_knows_the_host_by_its_name(understood):
    settings = understood("git@git.example:team/app.git")
    assert (settings["hostname"], settings["hostkeyalias"]) == ("192.0.2.7", "git.example")


def test_a_host_on_another_port_is_known_by_name_and_port(understood):
    assert understood("ssh://git@git.example:2222/app")["hostkeyalias"] == "[git.example]:2222"


def test_ssh_trusts_the_configured_host_keys_alone(understood, known_hosts, tmp_path):
    settings = understood("git@git.example:app")
    assert settings["stricthostkeychecking"] == "true"
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings["userknownhostsfile"] == str(tmp_path / "scratch" / "known_hosts")
    assert (tmp_path / "scratch" / "known_hosts").read_text() == known_hosts.read_text()


def test_ssh_uses_the_deploy_key_alone_and_asks_nobody(understood):
    settings = understood("git@git.example:app")
    assert settings["identityfile"].endswith("/scratch/key")
    assert (settings["identitiesonly"], settings["batchmode"], settings["identityagent"]) == ("yes", "yes", "none")
    assert settings["preferredauthentications"] == "publickey"


def test_the_key_is_a_private_file(understood, tmp_path):
    understood("git@git.example:app")
    path = tmp_path / "scratch" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == KEY + "\n"  # ssh refuses a key without its last line break


def test_without_known_hosts_no_ssh_remote_is_asked():
    with pytest.raises(git.UnknownHostKey, match=r"git\.known_hosts"):
        resolve(Remote("git@localhost:app.git", GitLogin(ssh_key=KEY)))


def test_without_a_deploy_key_no_ssh_remote_is_asked(known_hosts):
    with pytest.raises(git.CredentialsRefused) as refused:
        resolve(Remote("git@localhost:app.git"))
    assert refused.value.field == "deploy_key"


def test_a_port_where_no_ssh_server_listens_is_unreachable(known_hosts, scratch):
    with pytest.raises(git.HostUnreachable):
        resolve(Remote(f"ssh://git@localhost:{free_port()}/app.git", GitLogin(ssh_key=KEY)))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("git@git.example: Permission denied (publickey).\nfatal: Could not read from remote repository.", git.CredentialsRefused),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", git.UnknownHostKey),
        ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", git.RepositoryNotFound),
        ("fatal: '/x.git' does not appear to be a git repository", git.RepositoryNotFound),
        ("ssh: connect to host 192.0.2.7 port 22: Connection timed out", git.HostUnreachable),
        (
            "fatal: unable to access 'https://h/x/': SSL certificate problem: unable to get local issuer certificate",
            git.UnknownCertificate,
        ),
        ("fatal: unable to access 'https://h/x/': SSL certificate problem: certificate has expired", git.UnknownCertificate),
        ("fatal: unable to access 'https://h/x/': Operation too slow. Less than 1000 bytes/sec", git.GitTimeout),
        ("fatal: unable to access 'https://h/x/': gnutls_handshake() failed: Handshake failed", git.HostUnreachable),
        ("fatal: unable to access 'https://h/x/': Failed to connect to h port 443: Connection timed out", git.HostUnreachable),
    ],
)
def test_complaints_of_other_builds_of_git_and_of_ssh_servers_are_understood(stderr, error):
    assert type(git.git_failures.meaning(stderr, "git.example", True)) is error
