"""Settings of the test suite: the product's own, with keys of the tests and nothing read from this checkout's var/."""

import os
import tempfile
from pathlib import Path

_scratch = Path(tempfile.gettempdir()) / f"ci-portal-tests-{os.getuid()}"
_own = _scratch / os.environ.get("PYTEST_XDIST_WORKER", "")
_scratch.mkdir(mode=0o700, exist_ok=True)
_own.mkdir(exist_ok=True)

os.environ.setdefault("CI_PORTAL_CONFIG_FILE", str(Path(__file__).parent / "configure_server.json"))
for _key, _name in {"DATABASE__NAME": "portal.sqlite3", "OUTPUT__STORAGE": "output", "BUILD__FOLDER": "work"}.items():
    # What is set is left, unless it is what pytest-xdist's first process set for itself: its workers inherit that.
    if os.environ.get(f"CI_PORTAL_{_key}") in (None, str(_scratch / _name)):
        os.environ[f"CI_PORTAL_{_key}"] = str(_own / _name)

from ci_portal.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # A file, as in production: threads of one process can't share tables in memory without "table is locked".
    DATABASES["default"]["TEST"] = {"NAME": str(_scratch / f"test-{os.getpid()}.sqlite3")}  # noqa: F405
# WhiteNoise looks for a file when it is asked for, not for all files in each test that makes a client.
WHITENOISE_AUTOREFRESH = True
