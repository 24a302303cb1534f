"""Settings of the test suite: the product's own, with keys of the tests and nothing read from this checkout's var/."""

import os
import tempfile
from pathlib import Path

_scratch = Path(tempfile.gettempdir()) / f"ci-portal-tests-{os.getuid()}"
_scratch.mkdir(mode=0o700, exist_ok=True)

os.environ.setdefault("CI_PORTAL_CONFIG_FILE", str(Path(__file__).parent / "configure_server.json"))
os.environ.setdefault("CI_PORTAL_DATABASE__NAME", str(_scratch / "portal.sqlite3"))
os.environ.setdefault("CI_PORTAL_OUTPUT__STORAGE", str(_scratch / "output"))
os.environ.setdefault("CI_PORTAL_BUILD__FOLDER", str(_scratch / "work"))

from ci_portal.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, as in production: threads of one process can't share tables in memory without "table is locked".
    DATABASES["default"]["TEST"] = {"NAME": str(_scratch / f"test-{os.getpid()}.sqlite3")}  # noqa: F405
