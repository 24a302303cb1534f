#!/usr/bin/env python3
"""Django's command line, e.g. `python3 manage.py runserver`, `watch`, `config`, `migrate`."""

import os
import sys


def main() -> None:
    """Run one management command of the portal."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ci_portal.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line

        from ci_portal.config import ConfigError, use_development_defaults
    except ModuleNotFoundError as error:
        advice = "`make run` installs all that is needed into .venv, then use .venv/bin/python"
        raise SystemExit(f"The package {error.name} is not installed for {sys.executable}: {advice}.") from None

    try:
        if use_development_defaults(sys.argv[1:]) and sys.argv[1] == "runserver":
            make_tables()
        execute_from_command_line(sys.argv)
    except ConfigError as error:
        raise SystemExit(f"CI Portal's configuration: {error}") from None
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from None


def make_tables() -> None:
    """Before `runserver` with development's defaults: a fresh checkout has no tables, and `runserver` alone builds nothing."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    django.setup()
    if settings.PORTAL.database.engine == "sqlite":
        call_command("migrate", interactive=False, verbosity=0)
    watch = f"CI_PORTAL_DEVELOPMENT=1 {sys.executable} manage.py watch"
    print(f"Builds wait for a watcher, which is not part of runserver: {watch} (`make run` starts both).", file=sys.stderr)


if __name__ == "__main__":
    main()
