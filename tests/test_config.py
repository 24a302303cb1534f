"""The configuration: where it comes from, what is refused, and that no secret is ever shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from ci_portal import config
from ci_portal.config import ConfigError, load

ROOT = Path(__file__).parents[1]
KEY = "dGVzdHMtb25seS1rZXktdGVzdHMtb25seS1rZXktMDA="
DJANGO_KEY = "django-key-of-the-configuration-tests-0123456789"
SECRETS = {"CI_PORTAL_SECRETS__KEYS": KEY, "CI_PORTAL_SECRETS__DJANGO_KEY": DJANGO_KEY}


@pytest.fixture
def sources(tmp_path):
    """Returns a loader of a configuration from the environment, secret files and a configuration file."""
    (tmp_path / "secrets").mkdir()

    def loader(environ=None, files=None, conf=None):
        (tmp_path / "conf.json").write_text(conf if isinstance(conf, str) else json.dumps(conf or {}))
        for name, text in (files or {}).items():
            (tmp_path / "secrets" / name).write_text(text)
        places = {"CI_PORTAL_CONFIG_FILE": str(tmp_path / "conf.json"), "CI_PORTAL_SECRETS_DIR": str(tmp_path / "secrets")}
        return load({**places, **SECRETS, **(environ or {})})

    return loader


# Where a value comes from.


def test_a_key_that_nobody_sets_has_its_default(sources):
    assert sources().build.timeout_seconds == 3600


def test_the_configuration_file_comes_before_the_default(sources):
    assert sources(conf={"build": {"timeout_seconds": 60}}).build.timeout_seconds == 60


def test_a_secret_file_comes_before_the_configuration_file(sources):
    found = sources(files={"CI_PORTAL_DATABASE__USER": "from-file\n"}, conf={"database": {"user": "from-conf"}})
    assert found.database.user == "from-file"


def test_the_environment_comes_before_a_secret_file(sources):
    found = sources({"CI_PORTAL_DATABASE__USER": "from-env"}, files={"CI_PORTAL_DATABASE__USER": "from-file"})
    assert found.database.user == "from-env"


def test_one_key_of_a_section_leaves_the_others_of_it_alone(sources):
    found = sources({"CI_PORTAL_DATABASE__HOST": "db"}, conf={"database": {"user": "portal", "host": "elsewhere"}})
    assert (found.database.host, found.database.user) == ("db", "portal")


def test_other_files_in_the_directory_of_secrets_are_left_alone(sources):
    assert sources(files={"ca.crt": "whatever"}).database.user == ""


# How values are written in the environment.


@pytest.mark.parametrize("text", ['["a.example", "b.example"]', "a.example, b.example", "a.example,b.example,"])
def test_a_list_is_json_or_separated_by_commas(sources, text):
    assert sources({"CI_PORTAL_GIT__ALLOWED_HOSTS": text}).git.allowed_hosts == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("10.0.0.0/8,192.168.0.0/16", ["10.0.0.0/8", "192.168.0.0/16"])]
)
def test_private_networks_are_all_none_or_listed(sources, text, value):
    assert sources({"CI_PORTAL_GIT__ALLOW_PRIVATE_NETWORKS": text}).git.allow_private_networks == value


def test_an_object_is_json(sources):
    assert sources({"CI_PORTAL_KUBERNETES__NODE_SELECTOR": '{"disk": "ssd"}'}).kubernetes.node_selector == {"disk": "ssd"}


def test_a_password_that_looks_like_json_stays_text(sources):
    assert sources({"CI_PORTAL_DATABASE__PASSWORD": "12345678"}).database.password.get_secret_value() == "12345678"


def test_several_keys_can_be_given(sources):
    other = Fernet.generate_key().decode()
    keys = sources({"CI_PORTAL_SECRETS__KEYS": f"{other},{KEY}"}).secrets.keys
    assert [key.get_secret_value() for key in keys] == [other, KEY]


# What is refused.


@pytest.mark.parametrize(
    "name", ["CI_PORTAL_DATABASE__HOTS", "CI_PORTAL_DATABSE__HOST", "CI_PORTAL_HOST", "CI_PORTAL_DEVELOPMENT__X"]
)
def test_an_unknown_name_in_the_environment_is_refused(sources, name):
    with pytest.raises(ConfigError, match=f"(?i){name}|{name.removeprefix('CI_PORTAL_').replace('__', '.')}"):
        sources({name: "x"})


def test_an_unknown_name_of_a_secret_file_is_refused(sources):
    with pytest.raises(ConfigError, match="database.hots"):
        sources(files={"CI_PORTAL_DATABASE__HOTS": "x"})


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"git": {"bse_url": ""}}, "git.bse_url"),
        ({"gti": {}}, "gti"),
        ({"development": True}, "development"),
        ({"conf_folder": {}}, "object of sections"),
    ],
)
def test_an_unknown_key_in_the_configuration_file_is_refused(sources, conf, named):
    with pytest.raises(ConfigError, match=named):
        sources(conf=conf)


@pytest.mark.parametrize("conf", ["not json", "[]", '{"git": 1}'])
def test_a_configuration_file_of_another_shape_is_refused_by_name(sources, conf):
    with pytest.raises(ConfigError, match="conf.json"):
        sources(conf=conf)


def test_a_named_configuration_file_must_be_there():
    with pytest.raises(ConfigError, match="/no/such.json"):
        load({**SECRETS, "CI_PORTAL_CONFIG_FILE": "/no/such.json"})


def test_a_named_directory_of_secrets_must_be_there():
    with pytest.raises(ConfigError, match="/no/such"):
        load({**SECRETS, "CI_PORTAL_SECRETS_DIR": "/no/such"})


def test_a_secret_file_that_is_no_text_is_refused_by_name(sources, tmp_path):
    (tmp_path / "secrets" / "CI_PORTAL_DATABASE__PASSWORD").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="CI_PORTAL_DATABASE__PASSWORD"):
        sources()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BUILD__TIMEOUT_SECONDS", "0"),
        ("BUILD__BACKEND", "docker"),
        ("DATABASE__PORT", "no"),
        ("GIT__ALLOW_PRIVATE_NETWORKS", "10.0.0.0/99"),
        ("GIT__CA_BUNDLE", "/no/such.pem"),
        ("GIT__KNOWN_HOSTS", "/no/such"),
        ("PORTAL__TIME_ZONE", "Mars/Olympus"),
        ("PORTAL__LANGUAGE", "tlh"),
        ("OUTPUT__RETENTION_DAYS", "1000000"),
        ("RETENTION__EVENT_DAYS", "-1"),
        ("RETENTION__EVENT_COUNT", "many"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(sources, name, text):
    with pytest.raises(ConfigError, match=name.lower().replace("__", ".")):
        sources({f"CI_PORTAL_{name}": text})


def test_a_wrong_encryption_key_is_refused_without_being_shown(sources):
    with pytest.raises(ConfigError, match="key 2 is not a Fernet key") as refused:
        sources({"CI_PORTAL_SECRETS__KEYS": f"{KEY},half-of-a-secret-key"})
    assert "half-of-a-secret-key" not in str(refused.value)


def test_a_secret_of_the_wrong_type_is_refused_without_being_shown(sources):
    with pytest.raises(ConfigError, match="database.password") as refused:
        sources(conf={"database": {"password": ["hunter2hunter2"]}})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("missing", SECRETS)
def test_production_does_not_start_without_its_keys(sources, missing):
    with pytest.raises(ConfigError, match="manage.py make_key"):
        sources({missing: ""})


def test_a_kubernetes_backend_needs_a_registry(sources):
    with pytest.raises(ConfigError, match="registry.address"):
        sources({"CI_PORTAL_BUILD__BACKEND": "kubernetes"})


# Who may do what by default.


def test_production_wants_a_login(sources):
    assert sources().auth.mode == "required"


# What is shown.


def test_what_is_shown_says_of_a_secret_only_whether_it_is_set(sources):
    shown = sources({"CI_PORTAL_DATABASE__PASSWORD": "hunter2hunter2"}).public()
    assert shown["database"]["password"] == "(set)"
    assert shown["registry"]["password"] == "(not set)"
    assert (shown["secrets"]["keys"], shown["secrets"]["django_key"]) == (["(set)"], "(set)")


def test_the_options_of_an_object_store_show_no_secret(sources):
    options = {"bucket_name": "output", "access_key": "AKIA-1234", "secret_key": "very-secret-key-1"}
    shown = sources(conf={"output": {"storage": {"backend": "storages.backends.s3.S3Storage", "options": options}}}).public()
    assert shown["output"]["storage"]["options"] == {"bucket_name": "output", "access_key": "(set)", "secret_key": "(set)"}


def test_its_text_in_a_traceback_shows_no_secret(sources):
    text = repr(sources({"CI_PORTAL_DATABASE__PASSWORD": "hunter2hunter2"}))
    assert "hunter2" not in text
    assert KEY not in text
    assert DJANGO_KEY not in text


def manage(*arguments, **environ):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CI_PORTAL_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**clean, **environ}, capture_output=True, text=True, timeout=60
    )


def test_manage_config_prints_the_effective_configuration_without_secrets(tmp_path):
    (tmp_path / "conf.json").write_text(json.dumps({"registry": {"address": "registry.example", "password": "hunter2hunter2"}}))
    done = manage(
        "config", CI_PORTAL_CONFIG_FILE=str(tmp_path / "conf.json"), CI_PORTAL_PORTAL__TIME_ZONE="Asia/Shanghai", **SECRETS
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["registry"]["address"], shown["portal"]["time_zone"]) == ("registry.example", "Asia/Shanghai")
    assert shown["registry"]["password"] == "(set)"
    for secret in ("hunter2", KEY, DJANGO_KEY):
        assert secret not in done.stdout + done.stderr


def test_a_wrong_configuration_ends_the_start_with_its_sentence(tmp_path):
    (tmp_path / "conf.json").write_text("{}")
    done = manage("migrate", "--check", CI_PORTAL_CONFIG_FILE=str(tmp_path / "conf.json"), CI_PORTAL_BUILD__TIMEOUT="1", **SECRETS)
    assert done.returncode != 0
    assert "build.timeout" in done.stderr


# Development.


def test_development_makes_its_keys_once(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "BASE_DIR", tmp_path)
    first, second = load({"CI_PORTAL_DEVELOPMENT": "1"}), load({"CI_PORTAL_DEVELOPMENT": "1"})
    assert first.secrets.keys == second.secrets.keys
    assert first.secrets.django_key == second.secrets.django_key
    assert first.auth.mode == "open"
    assert (tmp_path / "var" / "keys.json").stat().st_mode & 0o077 == 0


def test_development_keys_are_one_pair_when_several_processes_start_at_once(tmp_path):
    code = (
        "import sys, pathlib; from ci_portal import config; config.BASE_DIR = pathlib.Path(sys.argv[1]);"
        "found = config.load({'CI_PORTAL_DEVELOPMENT': '1'}); print(found.secrets.keys[0].get_secret_value())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate(timeout=60)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["keys.json"]


def test_development_takes_what_is_configured_before_its_defaults(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "BASE_DIR", tmp_path)
    found = load({"CI_PORTAL_DEVELOPMENT": "1", "CI_PORTAL_AUTH__MODE": "required", "CI_PORTAL_SECRETS__KEYS": KEY})
    assert found.auth.mode == "required"
    assert [key.get_secret_value() for key in found.secrets.keys] == [KEY]
