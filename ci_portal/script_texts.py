"""The texts that scripts in the browser show; pages hand them over as JSON, so that every text is translated in one place."""

from __future__ import annotations

from django.utils.translation import gettext as _


def script_texts() -> dict[str, str]:
    """Return each text by its key, in the current language; {x} is filled in by the script."""
    return {
        "seconds": _("{s} s"),
        "minutes": _("{m} min {s} s"),
        "hours": _("{h} h {m} min"),
        "close": _("Close"),
        "keep": _("No, leave it"),
        "unreachable": _("The portal could not be reached. Check the connection and try again."),
        "unexpected": _("The portal answered {status}. Try again; its log tells more."),
        "request_id": _("Request {id}."),
        "adding": _("Adding…"),
        "added": _("{name} was added."),
        "not_added": _("Not added: correct the fields that are marked."),
        "login_moved": _("The login was taken out of the URL and put into the fields Git user and Git token."),
        "testing": _("Asking the git server, the registry and the build backend…"),
        "test_ok": _("All checks passed: a build of this would start."),
        "test_failed": _("Not everything is right yet:"),
        "test_needs_url": _("Enter the git URL first."),
        "check_repository": _("Repository"),
        "check_dockerfile": _("Dockerfile"),
        "check_build_path": _("Build path"),
        "check_registry": _("Registry"),
        "check_backend": _("Build backend"),
        "passed": _("passed"),
        "not_checked": _("not checked"),
        "not_passed": _("failed"),
        "starting": _("Starting a build of {name}…"),
        "not_started": _("{name} was not built: {reason}"),
        "connecting": _("Connecting…"),
        "live": _("Live"),
        "reconnecting": _("Connection lost, trying again…"),
        "complete": _("Complete"),
        "no_output": _("Nothing was printed."),
        "waiting_output": _("Nothing printed yet."),
        "cut": _("Only the end is shown here, {lines} lines at most. Raw has all of it."),
        "copied": _("Copied"),
    }
