"""The WSGI application that uWSGI serves (`uwsgi.ini`)."""

import gc
import os

try:
    import uwsgi  # type: ignore[import-untyped]  # what uWSGI offers to the Python that runs in it
except ImportError:
    uwsgi = None
else:
    if "gevent" in uwsgi.opt:  # before anything else is imported
        from gevent import monkey

        # Not subprocess: gevent's forks the whole portal, page tables and all, which takes ten times as long as what Python does
        # (vfork); repos.git reads from git, and waits for it, in a way that lets others go on. Nor os and signal, which are there
        # for it: gevent's os.close puts off what Python's subprocess waits for.
        monkey.patch_all(subprocess=False, os=False, signal=False)

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ci_portal.settings")
application = get_wsgi_application()

if uwsgi:
    from django.urls import get_resolver

    from ci_portal.graceful import Ending

    uwsgi.atexit = Ending(uwsgi)
    _ = get_resolver().url_patterns  # or the first request loads them
    # What is loaded stays: each look through it for garbage would stop all requests for a tenth of a second.
    gc.collect()
    gc.freeze()
