"""Errors on the wire: problem details (RFC 9457) with the request's id, the same for every error there is."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from ci_portal.api.database import is_away
from ci_portal.api.request_id import request_id

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
#: First segments of the paths that scripts use; an error there is a problem whatever the client accepts.
API_PATHS = {"repo", "event", "job", "log", "check", "schema"}


class Problem(exceptions.APIException):
    """What views raise. `code` is a stable slug, `detail` a sentence for a person, `errors` name the fields to correct."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Iterable[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.errors = list(errors)
        self.headers = headers or {}
        self.members = members


def field_error(field: str, message: str, code: str = "invalid") -> dict[str, str]:
    """One entry of a problem's `errors`: the wire name of the field or parameter, and what is wrong with it."""
    return {"field": field, "message": message, "code": code}


def invalid(*errors: dict[str, str]) -> Problem:
    """The 400 of a request whose fields or parameters must be corrected; its detail is their messages."""
    detail = " ".join(f"{error['field']}: {error['message']}" if error["field"] else error["message"] for error in errors)
    return Problem(400, "invalid", detail, errors=errors)


def body(request: Any, problem: Problem) -> dict[str, Any]:
    """The problem as a JSON object."""
    generic = problem.code == slug(problem.status_code)
    content = {
        "type": "about:blank" if generic else f"/problems/{problem.code}",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": str(problem.detail),
        "instance": request.path,
        "request_id": request_id(request),
        "code": problem.code,
    }
    if problem.errors:
        content["errors"] = problem.errors
    return {**content, **problem.members}


def slug(status: int) -> str:
    """The code of a problem that is nothing but its HTTP status, like not_found."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler. What it does not know goes on to `server_error`, which tells nothing of it."""
    problem = from_exception(error)
    if problem is None:
        return None
    response = Response(body(context["request"], problem), status=problem.status_code, headers=problem.headers)
    response.content_type = CONTENT_TYPE
    return response


def from_exception(error: Exception) -> Problem | None:
    """The problem that a framework's exception stands for; None for one that is the portal's own fault."""
    if isinstance(error, Problem):
        return error
    if is_away(error):
        return database_away(error)
    if isinstance(error, Http404):
        return Problem(404, slug(404), "There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return Problem(403, slug(403), "You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return Problem(413, slug(413), "The body is too large.")
    if isinstance(error, SuspiciousOperation):
        return Problem(400, slug(400), "The request is malformed.")
    if isinstance(error, exceptions.ValidationError):
        return invalid(*flat(error.get_full_details()))
    if isinstance(error, exceptions.APIException):
        headers = {}
        if getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
        if getattr(error, "wait", None):
            headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
        return Problem(error.status_code, slug(error.status_code), str(error.detail), headers=headers)
    return None


def database_away(error: BaseException) -> Problem:
    """The 503 of a request that the database could not answer; the log says why."""
    logger.error("the database does not answer: %s", error)
    detail = "The portal's database does not answer now. Running builds are not affected; try again in a few seconds."
    return Problem(503, "database_unavailable", detail, headers={"Retry-After": "5"})


def flat(details: Any, field: str = "") -> list[dict[str, str]]:
    """REST framework's nested validation errors as a list that names each field."""
    if isinstance(details, dict) and set(details) == {"message", "code"} and isinstance(details["code"], str):
        return [field_error(field, str(details["message"]), details["code"])]
    if isinstance(details, dict):
        return [
            error
            for key, inner in details.items()
            for error in flat(inner, field if key == "non_field_errors" else f"{field}.{key}".lstrip("."))
        ]
    return [error for inner in details for error in flat(inner, field)]


def plain_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The problem as a Django response, for what fails outside of any REST view."""
    content = json.dumps(body(request, problem), ensure_ascii=False)
    return HttpResponse(content, status=problem.status_code, content_type=CONTENT_TYPE, headers=problem.headers)


def for_scripts(request: HttpRequest) -> bool:
    """Whether an error is told as a problem rather than as a page."""
    return request.path.split("/")[1:2] != [""] and (
        request.path.split("/")[1] in API_PATHS or "text/html" not in request.headers.get("Accept", "")
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`."""
    problem = from_exception(exception) or Problem(400, slug(400), "The request is malformed.")
    return plain_response(request, problem) if for_scripts(request) else defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler403`."""
    problem = Problem(403, slug(403), "You may not do this.")
    return plain_response(request, problem) if for_scripts(request) else defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404`."""
    hint = "" if request.path.endswith("/") else " Addresses of the API end with a slash."
    problem = Problem(404, slug(404), f"There is nothing at this address.{hint}")
    return plain_response(request, problem) if for_scripts(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`: says nothing of the cause; the log has it under the request's id. A database that is away is a 503."""
    error = sys.exc_info()[1]
    if error is not None and is_away(error):
        away = database_away(error)
        if for_scripts(request):
            return plain_response(request, away)
        return HttpResponse(loader.get_template("503.html").render(), status=503, headers=away.headers)
    logger.error("%s %s failed, request id %s", request.method, request.path, request_id(request))
    problem = Problem(500, slug(500), "Something went wrong in the portal. Its log says more under this request id.")
    return plain_response(request, problem) if for_scripts(request) else defaults.server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """`CSRF_FAILURE_VIEW`."""
    if not for_scripts(request):
        from django.views.csrf import csrf_failure as page

        return page(request, reason=reason)
    return plain_response(request, Problem(403, "csrf", f"The request was refused: {reason or 'CSRF check failed.'}"))
