"""The WSGI application that uWSGI serves (`uwsgi.ini`)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ci_portal.settings")
application = get_wsgi_application()

try:
    import uwsgi  # type: ignore[import-untyped]  # what uWSGI offers to the Python that runs in it
except ImportError:
    pass
else:
    from ci_portal.graceful import Ending

    uwsgi.atexit = Ending(uwsgi)
