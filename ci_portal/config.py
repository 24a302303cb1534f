"""The portal's typed configuration, and the only reader of the environment and of `conf/`.

Precedence (SPEC section 8): environment > secret files > `conf/configure_server.json` > defaults. Environment names are
`CI_PORTAL_<SECTION>__<KEY>`; a secret file has the same name and lies in the directory that `CI_PORTAL_SECRETS_DIR` names.
A key that is not in this model is refused wherever it stands, so that a typing error is an error and not a silent default.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cryptography.fernet import Fernet
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

BASE_DIR = Path(__file__).resolve().parent.parent
PREFIX = "CI_PORTAL_"
#: Names with the prefix that say where to look, rather than being a key themselves.
LOCATIONS = ("CI_PORTAL_CONFIG_FILE", "CI_PORTAL_SECRETS_DIR", "CI_PORTAL_DEVELOPMENT")

_SECRET_OPTION = re.compile(r"(?i)secret|password|token|credential|connection_string|access_key|account_key|sas")


class ConfigError(Exception):
    """The configuration can't be used; the message names each key and what to do."""


class Section(BaseModel):
    """One section: unknown keys are refused, values can't change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Database(Section):
    """Where rows are kept: SQLite in a file, or MySQL/MariaDB through PyMySQL."""

    engine: Literal["sqlite", "mysql"] = "sqlite"
    name: str = "var/portal.sqlite3"
    host: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 3306
    user: str = ""
    password: SecretStr = SecretStr("")


class Secrets(Section):
    """Keys: the first of `keys` encrypts, all decrypt; `django_key` signs sessions. And how old what they encrypt may be."""

    keys: list[SecretStr] = []
    django_key: SecretStr = SecretStr("")
    #: Days after which the credentials page asks for a repository's to be changed (0: never).
    max_age_days: Annotated[int, Field(ge=0, le=36500)] = 365

    @field_validator("keys")
    @classmethod
    def keys_are_fernet_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        """Refuse what Fernet can't use, without repeating the key."""
        for number, key in enumerate(keys, 1):
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError(
                    f"key {number} is not a Fernet key (32 bytes, url-safe base64); make one with: manage.py make_key"
                ) from None
        return keys


class Build(Section):
    """How images are built."""

    backend: Literal["local", "kubernetes"] = "local"
    builder: Literal["buildkit", "buildah"] = "buildkit"
    builder_image: str = ""
    clone_image: str = ""
    timeout_seconds: Annotated[int, Field(ge=1, le=7 * 86400)] = 3600
    wait_seconds: Annotated[int, Field(ge=0, description="0: for ever")] = 86400
    max_running: Annotated[int, Field(ge=0, description="0: no limit of the portal's own")] = 4
    cache: bool = False
    #: Where the local backend works (builds/) and leaves images without a registry (images/).
    folder: str = "var"
    #: Local backend: bytes of disk that one build may take (0: no limit), and that stay free on the disk of `folder`.
    disk_bytes: Annotated[int, Field(ge=0)] = 20 * 1024**3
    disk_free_bytes: Annotated[int, Field(ge=0)] = 512 * 1024**2


class Kubernetes(Section):
    """Which cluster, and what every build Job carries."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = "ci-portal-builds"
    queue: str = ""
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    pod_annotations: dict[str, str] = {}
    resources: dict[str, dict[str, str]] = {}
    ttl_seconds: Annotated[int, Field(ge=60)] = 86400


class Registry(Section):
    """Where images go when a repository names none."""

    address: str = ""
    repository: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    insecure: bool = False
    #: The only hosts that images may name besides `address`; empty: any.
    allowed_hosts: list[str] = []


class Git(Section):
    """Which git remotes may be asked, and whom to trust there."""

    base_url: str = ""
    allowed_hosts: list[str] = []
    #: true, false, or the networks (CIDR) that may be reached besides public ones.
    allow_private_networks: bool | list[str] = False
    ca_bundle: str = ""
    known_hosts: str = ""

    @field_validator("ca_bundle", "known_hosts")
    @classmethod
    def files_are_there(cls, value: str) -> str:
        """Refuse a file that can't be opened now rather than at the first check."""
        if value and not Path(value).is_file():
            raise ValueError(f"{value}: no such file")
        return value

    @field_validator("allow_private_networks")
    @classmethod
    def networks_are_cidr(cls, value: bool | list[str]) -> bool | list[str]:
        """Refuse what is not a network."""
        for network in value if isinstance(value, list) else []:
            ipaddress.ip_network(network)
        return value


class Portal(Section):
    """How the portal itself is reached and speaks."""

    allowed_hosts: list[str] = ["localhost", "127.0.0.1", "[::1]"]
    base_url: str = ""
    time_zone: str = "UTC"
    language: Literal["en", "zh-hans"] = "en"
    #: Networks (CIDR) of the proxies whose X-Forwarded-For is believed.
    trusted_proxies: list[str] = []
    #: Strict-Transport-Security, where base_url is https (0: none).
    hsts_seconds: Annotated[int, Field(ge=0, le=10 * 31536000)] = 31536000

    @field_validator("trusted_proxies")
    @classmethod
    def proxies_are_networks(cls, value: list[str]) -> list[str]:
        """Refuse what is not a network."""
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("time_zone")
    @classmethod
    def time_zone_is_known(cls, value: str) -> str:
        """Refuse what is not a name of the tz database."""
        try:
            ZoneInfo(value)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError(f"{value!r} is not a time zone, like UTC or Asia/Shanghai") from None
        return value


class Auth(Section):
    """Who may use it: `required` (log in or send a token) or `open` (everyone may do everything)."""

    mode: Literal["required", "open"] = "required"
    #: Days after which whoever has logged in must do so again.
    session_days: Annotated[int, Field(ge=1, le=365)] = 14
    #: Failed logins of one user from one address after which none is tried until lockout_minutes are over (0: no limit).
    lockout_failures: Annotated[int, Field(ge=0, le=1000)] = 5
    lockout_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    #: Days that an API token made in the browser lasts at most (0: it may last for ever).
    token_max_days: Annotated[int, Field(ge=0, le=3650)] = 0
    #: OpenID Connect: the provider's issuer, as its discovery document names itself; "": not used.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_scopes: list[str] = ["openid", "profile", "email"]
    #: What the button on the login page says.
    oidc_label: str = "Single sign-on"
    #: Claim that becomes the user name here, at the first login.
    oidc_name_claim: str = "preferred_username"
    #: Claim (a text or a list of them) whose values `oidc_roles` turns into roles at each login; "": an admin gives roles here.
    oidc_role_claim: str = ""
    oidc_roles: dict[str, Literal["viewer", "builder", "admin"]] = {}
    #: Role of who has none by their claim; "": they may not log in.
    oidc_default_role: Literal["", "viewer", "builder", "admin"] = ""
    #: Domains of verified e-mail addresses that may log in; none named: all.
    oidc_allowed_domains: list[str] = []
    #: PEM file of authorities to trust for the provider beside the system's.
    oidc_ca_bundle: str = ""

    @field_validator("oidc_ca_bundle")
    @classmethod
    def bundle_is_there(cls, value: str) -> str:
        """Refuse a file that can't be opened now rather than at the first login."""
        if value and not Path(value).is_file():
            raise ValueError(f"{value}: no such file")
        return value

    @model_validator(mode="after")
    def oidc_is_whole(self) -> Auth:
        """An issuer needs the rest, and https: whoever could change its answers could be anybody."""
        if not self.oidc_issuer:
            return self
        local = re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?(/|$)", self.oidc_issuer)
        if not self.oidc_issuer.startswith("https://") and not local:
            raise ValueError("oidc_issuer must be an https URL")
        if not self.oidc_client_id or not self.oidc_client_secret.get_secret_value():
            raise ValueError("oidc_issuer needs oidc_client_id and oidc_client_secret: the provider gives them to its clients")
        if "openid" not in self.oidc_scopes:
            raise ValueError("oidc_scopes must name openid: without it a provider says nothing of who somebody is")
        if not self.oidc_roles and not self.oidc_default_role:
            raise ValueError("oidc_roles (with oidc_role_claim) or oidc_default_role must be set: nobody could log in")
        return self


#: Requests a minute of one user, or of one address where nobody has logged in; 0: no limit.
PerMinute = Annotated[int, Field(ge=0, le=100_000)]


class Limits(Section):
    """How often somebody may ask for what is costly, a minute."""

    check: PerMinute = 300
    dry_run: PerMinute = 60
    remote: PerMinute = 60
    search: PerMinute = 300
    login: PerMinute = 30
    wrong_tokens: PerMinute = 30


#: At most a hundred years, and a count that every database can take for a LIMIT. 0: no limit, it is kept for ever.
Days = Annotated[int, Field(ge=0, le=36500)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class Output(Section):
    """Where finished output is kept, and for how long (0: for ever)."""

    retention_days: Days = 0
    #: How many outputs of each repository are kept, the newest (0: all).
    retention_count: Count = 0
    #: Bytes kept of one run's output; what it prints beyond is counted, not kept.
    limit_bytes: Annotated[int, Field(ge=65536)] = 1024**3
    #: A folder, or {"backend": "dotted.path.Storage", "options": {...}} as in Django's STORAGES.
    storage: str | dict[str, Any] = "var/output"


class Retention(Section):
    """How long everything but output is kept (0: for ever). Nothing that is active is ever removed."""

    #: Events that have ended, with their runs and output: days since they ended, and how many of each repository.
    event_days: Days = 0
    event_count: Count = 0
    #: Events and runs that were recorded from elsewhere: days since they were recorded.
    record_days: Days = 0
    #: Lines of history.
    log_days: Days = 0
    #: Entries of the audit.
    audit_days: Days = 0
    #: Ended Jobs of each repository in the cluster, the newest; kubernetes.ttl_seconds limits their age.
    job_count: Count = 0
    #: Images that local builds without a registry left on disk: days since they were built, and how many of each name.
    image_days: Days = 0
    image_count: Count = 0


class Config(Section):
    """The whole configuration."""

    development: bool = False
    #: Folder of the configuration file; certificates for the local backend lie below it in ca/<ca_secret>.crt.
    conf_folder: str = str(BASE_DIR / "conf")
    database: Database = Database()
    secrets: Secrets = Secrets()
    build: Build = Build()
    kubernetes: Kubernetes = Kubernetes()
    registry: Registry = Registry()
    git: Git = Git()
    portal: Portal = Portal()
    auth: Auth = Auth()
    limits: Limits = Limits()
    output: Output = Output()
    retention: Retention = Retention()

    @model_validator(mode="after")
    def secrets_are_there(self) -> Config:
        """Production won't start without its keys."""
        if not self.secrets.keys or not self.secrets.django_key.get_secret_value():
            raise ValueError(
                "secrets.keys and secrets.django_key must be set (CI_PORTAL_SECRETS__KEYS, CI_PORTAL_SECRETS__DJANGO_KEY);"
                " `manage.py make_key` prints new ones, and `make run` makes them for development"
            )
        return self

    @model_validator(mode="after")
    def kubernetes_has_a_registry(self) -> Config:
        """Only the local backend can leave an image on disk."""
        if self.build.backend == "kubernetes" and not self.registry.address:
            raise ValueError("registry.address must be set when build.backend is kubernetes: a Job pushes what it builds")
        return self

    def public(self) -> dict[str, Any]:
        """Return the effective configuration as JSON types, each secret shown as set or not set."""
        shown: dict[str, Any] = _without_secrets(self.model_dump())
        return shown


def _without_secrets(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(not set)"
    if isinstance(value, dict):
        # A storage's own options (output.storage) are plain text to this model; their names tell which are secret.
        hidden = {key for key, item in value.items() if isinstance(item, str) and _SECRET_OPTION.search(str(key))}
        return {key: "(set)" if key in hidden else _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def _parse(section: str, key: str, text: str) -> Any:
    """Read one environment value or secret file: JSON for lists, objects, numbers and booleans, else the text itself."""
    model = Config.model_fields[section].annotation
    field = model.model_fields.get(key) if isinstance(model, type) and issubclass(model, BaseModel) else None
    if field is None or field.annotation in (str, SecretStr):
        return text
    try:
        return json.loads(text)
    except ValueError:
        if field.annotation in (list[str], list[SecretStr], bool | list[str]):
            return [item.strip() for item in text.split(",") if item.strip()]
        return text


def _put(tree: dict[str, Any], name: str, text: str) -> None:
    """Put the value of CI_PORTAL_<SECTION>__<KEY> in its place."""
    section, _, key = name.removeprefix(PREFIX).lower().partition("__")
    if section not in Config.model_fields or section in ("development", "conf_folder") or not key:
        raise ConfigError(f"{name} is not a configuration key; names are CI_PORTAL_<SECTION>__<KEY>, see docs/configuration.md")
    tree.setdefault(section, {})[key] = _parse(section, key, text)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for section, keys in over.items():
        merged[section] = {**merged.get(section, {}), **keys}
    return merged


def _from_file(path: Path, named: bool) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"{path}: no such file (CI_PORTAL_CONFIG_FILE names it)") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if isinstance(tree, dict) and "development" in tree:
        raise ConfigError(f"{path}: development can't be set there, only by CI_PORTAL_DEVELOPMENT=1")
    if not isinstance(tree, dict) or "conf_folder" in tree or not all(isinstance(keys, dict) for keys in tree.values()):
        raise ConfigError(f'{path}: must hold an object of sections, like {{"git": {{"base_url": "…"}}}}')
    return tree


def _development_defaults() -> dict[str, Any]:
    """What `make run` uses where nothing else is configured: keys made once in var/, open on loopback."""
    path = BASE_DIR / "var" / "keys.json"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        keys = {"keys": [Fernet.generate_key().decode()], "django_key": Fernet.generate_key().decode()}
        partial = path.with_suffix(f".{os.getpid()}")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(keys), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)  # whoever is first wins; nobody ever reads half a file
        partial.unlink()
    return {
        "secrets": json.loads(path.read_text(encoding="utf-8")),
        "auth": {"mode": "open"},
        "git": {"allow_private_networks": ["127.0.0.0/8", "::1/128"]},
    }


def keys_are_configured(environ: dict[str, str]) -> bool:
    """Whether somebody set keys of their own anywhere: then this is no machine to fill in development's defaults on."""
    if environ.get("CI_PORTAL_SECRETS_DIR") or any(name.startswith(f"{PREFIX}SECRETS__") for name in environ):
        return True
    named = environ.get("CI_PORTAL_CONFIG_FILE", "")
    return "secrets" in _from_file(Path(named) if named else BASE_DIR / "conf" / "configure_server.json", bool(named))


def is_loopback(address: str) -> bool:
    """Whether `host:port`, `port` or `host` as `runserver` takes them can be reached from this machine alone."""
    host = "" if address.isdigit() else address.rpartition(":")[0] if re.search(r":\d+$", address) else address
    try:
        return not host or host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def use_development_defaults(arguments: list[str]) -> bool:
    """Let `manage.py dev` and `runserver` start without any configuration; called before the settings are read.

    Development's defaults let everyone do everything, so they are not for an address that others can reach (`dev` itself refuses).
    `config` shows them where they are in use; `make_key` needs no keys. Returns whether they were turned on.
    """
    command, environment = (arguments or [""])[0], dict(os.environ)
    if command == "make_key":
        for name in ("KEYS", "DJANGO_KEY"):
            os.environ.setdefault(f"{PREFIX}SECRETS__{name}", Fernet.generate_key().decode())
    if "CI_PORTAL_DEVELOPMENT" in environment or keys_are_configured(environment):
        return False
    addresses = [text for text in arguments[1:] if not text.startswith("-")]
    wanted = {
        "dev": True,
        "runserver": all(map(is_loopback, addresses)),
        "config": (BASE_DIR / "var" / "keys.json").exists(),
    }
    if wanted.get(command):
        os.environ["CI_PORTAL_DEVELOPMENT"] = "1"
    return wanted.get(command, False)


def load(environ: dict[str, str] | None = None) -> Config:
    """Read the configuration from all its places.

    Raises ConfigError with one line for each key that is unknown or wrong; no value of a secret is repeated in it.
    """
    env = dict(os.environ if environ is None else environ)
    development = env.get("CI_PORTAL_DEVELOPMENT", "") == "1"
    named = env.get("CI_PORTAL_CONFIG_FILE", "")
    tree = _development_defaults() if development else {}
    path = Path(named).absolute() if named else BASE_DIR / "conf" / "configure_server.json"
    tree = _merge(tree, _from_file(path, bool(named)))
    files: dict[str, Any] = {}
    folder = env.get("CI_PORTAL_SECRETS_DIR", "")
    if folder:
        if not Path(folder).is_dir():
            raise ConfigError(f"CI_PORTAL_SECRETS_DIR: {folder} is not a directory")
        for path in sorted(Path(folder).glob(f"{PREFIX}*")):
            try:
                text = path.read_text(encoding="utf-8").rstrip("\n")
            except (OSError, UnicodeDecodeError):
                raise ConfigError(f"{path}: can't be read as a text file") from None
            _put(files, path.name, text)
    values: dict[str, Any] = {}
    for name in sorted(env):
        if name.startswith(PREFIX) and name not in LOCATIONS:
            _put(values, name, env[name])
    tree = _merge(_merge(tree, files), values)
    try:
        return Config.model_validate({**tree, "development": development, "conf_folder": str(path.parent)})
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc'])) or 'configuration'}: {item['msg']}" for item in error.errors(include_input=False)
        ]
        raise ConfigError("; ".join(lines)) from None
