#!/usr/bin/env python3
"""Django's command line, e.g. `python3 manage.py runserver`, `watch`, `config`, `migrate`."""

import os
import sys


def main() -> None:
    """Run one management command of the portal."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ci_portal.settings")
    from django.core.management import execute_from_command_line

    from ci_portal.config import ConfigError, use_development_defaults

    try:
        use_development_defaults(sys.argv[1:])
    except ConfigError as error:
        raise SystemExit(f"CI Portal's configuration: {error}") from None
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
