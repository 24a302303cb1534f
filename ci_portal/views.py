"""`POST /check/` and the manifest of a run: parse, call, respond."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.utils.crypto import salted_hmac
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.limits import take
from accounts.roles import Level, level_of
from ci_portal.api.filters import refuse_parameters
from ci_portal.api.parsers import fields_of
from ci_portal.api.problems import Problem
from ci_portal.check import Checked, Idempotency, check
from ci_portal.dry_run import dry_run
from ci_portal.registration import CheckRequest
from ci_portal.serializers import CheckSerializer
from events.models import Event
from events.serializers import EventSerializer
from repos.models import Repository
from repos.serializers import RepositorySerializer, described
from runners.again import cancel, retry
from runners.backend import backend_named
from runners.describe import build_spec
from runners.models import Run
from runners.record import digest_of
from runners.serializers import RunSerializer
from runners.serializers import described as runs_described

ACTED = {
    200: OpenApiResponse(OpenApiTypes.OBJECT, "done: {event, job}"),
    202: OpenApiResponse(OpenApiTypes.OBJECT, "under way: {event, job}"),
}


class CheckView(APIView):
    """Handle one repository in one go: resolve its commit, record an event, launch its build."""

    serializer_class = CheckSerializer
    levels = {"POST": Level.BUILD}
    costs = {"POST": "check"}

    @extend_schema(
        operation_id="check",
        request=CheckSerializer,
        parameters=[
            OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="makes a retry of this request safe")
        ],
        responses={
            200: OpenApiResponse(OpenApiTypes.OBJECT, "dry_run's report, or the same build is active already: its event"),
            202: OpenApiResponse(OpenApiTypes.OBJECT, "recorded: {repo, event, job}, Location leads to the event"),
            502: OpenApiResponse(OpenApiTypes.OBJECT, "the backend refused the build; the event tells it"),
        },
    )
    def post(self, request: Request) -> Response:
        """Check one repository."""
        refuse_parameters(request)
        body = CheckSerializer(data=fields_of(request))
        body.is_valid(raise_exception=True)
        wanted = CheckRequest(**body.validated_data, may_change_logins=level_of(request) >= Level.ADMIN)
        actor = request.user.get_username() or wanted.user
        if wanted.dry_run:
            take(request, "dry_run")
            return Response(dry_run(wanted, actor))
        checked = check(wanted, actor, _idempotency(request, body.validated_data))
        if checked.refused:
            raise Problem(
                502,
                "refused_by_backend",
                checked.event.reason,
                headers={"Location": f"/event/{checked.event.pk}/"},
                event=EventSerializer(checked.event, context={"request": request}).data,
            )
        return _answer(request, checked)


def _answer(request: Request, checked: Checked) -> Response:
    context = {"request": request}
    run, repository = checked.run, checked.repository
    if repository is None:
        run = runs_described(Run.objects.filter(pk=run.pk).select_related("event")).get()
        repository = described(Repository.objects.filter(pk=run.event.repository_id)).first()
    content = {
        "repo": RepositorySerializer(repository, context=context).data if repository else None,
        "event": EventSerializer(run.event, context=context).data,
        "job": RunSerializer(run, context=context).data,
    }
    return Response(content, status=checked.status, headers={"Location": f"/event/{checked.event.pk}/"})


def _idempotency(request: Request, validated: dict[str, Any]) -> Idempotency | None:
    """The request's Idempotency-Key, told apart by who sends it; the body is kept as a keyed hash, since a token may be in it."""
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return None
    if len(key) > 255 or not key.isprintable():
        raise Problem(400, "invalid", "The Idempotency-Key header must be at most 255 printable characters")
    body = salted_hmac("idempotency", json.dumps(validated, sort_keys=True), algorithm="sha256").hexdigest()
    return Idempotency(digest_of(str(request.user.pk or ""), key), body)


class CancelView(APIView):
    """`POST /event/<id>/cancel/`."""

    levels = {"POST": Level.BUILD}

    @extend_schema(operation_id="event_cancel", request=None, responses=ACTED)
    def post(self, request: Request, pk: int) -> Response:
        """End the event's build: 200 once it is cancelled, 202 while its watcher ends it; safe to repeat."""
        return _acted(request, pk, cancel)


class RetryView(APIView):
    """`POST /event/<id>/retry/`."""

    levels = {"POST": Level.BUILD}

    @extend_schema(operation_id="event_retry", request=None, responses=ACTED)
    def post(self, request: Request, pk: int) -> Response:
        """Build a failed or cancelled event once more: a new run at the same commit."""
        return _acted(request, pk, retry)


def _acted(request: Request, pk: int, act: Callable[[Event, str], Run]) -> Response:
    """Do it with the event's build, and answer {event, job}. Raises Problem."""
    refuse_parameters(request)
    event = Event.objects.filter(pk=pk).first()
    if event is None:
        raise Problem(404, "not_found", f"There is no event {pk}.")
    run = act(event, request.user.get_username())
    event.refresh_from_db()
    context = {"request": request}
    content = {"event": EventSerializer(event, context=context).data, "job": RunSerializer(run, context=context).data}
    return Response(content, status=202 if event.is_active else 200, headers={"Location": f"/event/{pk}/"})


class ManifestView(APIView):
    """What a run's backend was asked to run, secrets as references."""

    @extend_schema(operation_id="job_manifest", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, pk: int) -> Response:
        """A `v1` List: the Job, with a Secret to fill in beside it, so that `kubectl apply` works without the portal."""
        run = Run.objects.select_related("event__repository").filter(pk=pk).first()
        if run is None:
            raise Problem(404, "not_found", f"There is no run {pk}")
        if not run.managed:
            raise Problem(409, "not_managed", "This run was recorded from elsewhere: the portal made no manifest for it")
        spec = build_spec(run)
        return Response({"apiVersion": "v1", "kind": "List", "items": backend_named(run.backend).manifest(spec)})
