"""Remove what a backend still holds of a run that has its outcome."""

from __future__ import annotations

import logging

from django.db import Error, close_old_connections

from runners.backends.base import Backend, BackendError
from runners.describe import build_spec
from runners.models import Run

logger = logging.getLogger(__name__)


def tidy(run: Run, backend: Backend) -> bool:
    """End whatever of it still runs and remove its secrets and work; returns whether nothing is left to do. Safe to repeat.

    What is in another place is left to the watchers there, and what can't be done now to `reconcile`.

    Comes after the outcome was recorded, never before: a watcher that lost its claim could otherwise end another's build.
    """
    if run.place not in ("", backend.place):
        return False
    try:
        spec = build_spec(run)
        if backend.state(spec).finished:
            backend.settled(spec)
        else:
            backend.delete(spec)
        run.tidied()
        return True
    except BackendError as error:
        logger.warning("run %s: tidying up: %s", run.name, error)
    except Error as error:
        logger.warning("run %s: tidying up: the database does not answer: %s", run.name, error)
        close_old_connections()  # this thread's was lost
    except Exception:
        logger.exception("run %s: tidying up", run.name)
    return False
