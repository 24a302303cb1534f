"""Django's settings, derived from the typed configuration (`ci_portal.config`); nothing here reads the environment."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymysql
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from ci_portal.config import BASE_DIR, Config, ConfigError, load

pymysql.install_as_MySQLdb()

try:
    PORTAL: Config = load()
except ConfigError as error:
    raise ImproperlyConfigured(f"CI Portal's configuration: {error}") from None

DEBUG = False  # an error page with local variables would show secrets, in development too
SECRET_KEY = PORTAL.secrets.django_key.get_secret_value()
ALLOWED_HOSTS = PORTAL.portal.allowed_hosts
CSRF_TRUSTED_ORIGINS = [PORTAL.portal.base_url.rstrip("/")] if PORTAL.portal.base_url else []

INSTALLED_APPS = [
    "accounts.admin_app.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "ci_portal",
    "accounts",
    "logs",
    "repos",
    "events",
    "runners",
]

MIDDLEWARE = [
    "ci_portal.api.request_id.RequestIdMiddleware",
    "accounts.sender.SenderMiddleware",
    "accounts.middleware.HeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # after what adds headers: its files shall have them too
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "ci_portal.api.slash.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.SessionSeenMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "ci_portal.urls"
WSGI_APPLICATION = "ci_portal.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.pages.access",
            ],
        },
    }
]


def _database() -> dict[str, Any]:
    chosen = PORTAL.database
    if chosen.engine == "mysql":
        return {
            "ENGINE": "ci_portal.mysql",
            "NAME": chosen.name,
            "HOST": chosen.host,
            "PORT": chosen.port,
            "USER": chosen.user,
            "PASSWORD": chosen.password.get_secret_value(),
            "CONN_MAX_AGE": 0,  # given back to the pool after each request
            # Sessions in UTC: the original's TIMESTAMP columns convert by the session's zone, Django's DATETIME columns don't.
            "OPTIONS": {
                "charset": "utf8mb4",
                # A table that another tool has locked is waited for 50 s, as InnoDB waits for a row. MariaDB alone takes back the
                # locks of a process that was stopped within a transaction, as a paused virtual machine is.
                "init_command": "SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES', lock_wait_timeout = 50"
                " /*M!100301 , idle_transaction_timeout = 20 */",
                "isolation_level": "read committed",
                "connect_timeout": 5,
            },
            "TEST": {"CHARSET": "utf8mb4", "COLLATION": "utf8mb4_unicode_ci"},
        }
    path = Path(chosen.name) if Path(chosen.name).is_absolute() else BASE_DIR / chosen.name
    path.parent.mkdir(parents=True, exist_ok=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        # IMMEDIATE: a transaction that will write takes its lock at once and waits for it, instead of failing half-way.
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


DATABASES = {"default": _database()}
#: Versions with https://www.sqlite.org/wal.html's WAL-reset bug are named at start-up by `manage.py check`.
SQLITE_VERSION = sqlite3.sqlite_version_info
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"  # the original's ids are INT; a BIGINT foreign key would not fit them

LANGUAGE_CODE = "zh-hans" if PORTAL.portal.language == "zh-hans" else "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LANGUAGE_COOKIE_AGE = 31536000  # seconds; whoever chose a language meets it again
LANGUAGE_COOKIE_SAMESITE = "Lax"
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = PORTAL.portal.time_zone
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "var" / "static"
with suppress(OSError):  # WhiteNoise warns of a folder that is not there; on a read-only disk it may
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True  # a fresh checkout serves its own assets without a collectstatic step


def _output_storage() -> dict[str, Any]:
    chosen = PORTAL.output.storage
    if isinstance(chosen, str):
        folder = Path(chosen) if Path(chosen).is_absolute() else BASE_DIR / chosen
        return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}
    return {"BACKEND": chosen.get("backend", ""), "OPTIONS": chosen.get("options", {})}


STORAGES = {
    "default": _output_storage(),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.SessionAuthentication",
        "accounts.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.PortalPermission"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.limits.Throttle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "ci_portal.api.parsers.JSONParser",
        "ci_portal.api.parsers.FormParser",
        "ci_portal.api.parsers.MultiPartParser",
    ],
    "DEFAULT_SCHEMA_CLASS": "ci_portal.api.schema.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "ci_portal.api.pagination.PageNumberPagination",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "ci_portal.api.problems.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "CI Portal",
    "DESCRIPTION": "Registers git repositories and turns each check of them into a container image.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

_HTTPS = PORTAL.portal.base_url.startswith("https://")
SECURE_SSL_REDIRECT = False  # the proxy in front redirects; /check/ scripts inside the cluster speak plain HTTP to the service
SILENCED_SYSTEM_CHECKS = ["security.W008"]  # for the same reason
SECURE_HSTS_SECONDS = PORTAL.portal.hsts_seconds if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _HTTPS
SECURE_HSTS_PRELOAD = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = (
    "Lax"  # Strict would log nobody in who follows a link from a chat or comes back from OIDC
)
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = PORTAL.auth.session_days * 86400
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

#: NIST SP 800-63B, section 3.1.1.2: long enough, and none of those that everybody tries first.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_FAILURE_VIEW = "ci_portal.api.problems.csrf_failure"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "filters": {"without_queries": {"()": "ci_portal.request_lines.WithoutQueries"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        # A connection that was lost is told by whoever needed it, in a line; the pool would tell it again, with a traceback.
        "sqlalchemy.pool": {"level": "CRITICAL"},
        # runserver's; what uWSGI logs of a request is in uwsgi.ini
        "django.server": {"handlers": ["stderr"], "level": "INFO", "propagate": False, "filters": ["without_queries"]},
    },
}
