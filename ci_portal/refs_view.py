"""`POST /check/refs/`: the branches and tags of a remote, for whoever is about to choose one."""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.roles import Level, level_of
from ci_portal.api.filters import refuse_parameters
from ci_portal.api.parsers import fields_of
from ci_portal.check import git_problem, look_up, remote_of
from ci_portal.registration import CheckRequest
from ci_portal.serializers import CheckSerializer
from repos import git

#: Branches, and tags, that an answer holds at most; a list that one chooses from is of no use beyond that.
MOST = 1000


class RefsSerializer(CheckSerializer):
    """What names a remote: those fields of a check that say where it is and how to log in."""

    def get_fields(self) -> dict[str, Any]:
        """Only these."""
        return {name: field for name, field in super().get_fields().items() if name in ("repo", "user", "token", "ca_secret")}


class RefsView(APIView):
    """Ask a remote what it has, by the same rules as a check; nothing is written."""

    serializer_class = RefsSerializer
    levels = {"POST": Level.BUILD}
    costs = {"POST": "remote"}

    @extend_schema(
        operation_id="check_refs",
        request=RefsSerializer,
        responses={
            200: OpenApiResponse(OpenApiTypes.OBJECT, "{default, branches, tags, cut}: names; cut where there are more"),
            "4XX": OpenApiResponse(OpenApiTypes.OBJECT, "problem details, as of a check"),
        },
    )
    def post(self, request: Request) -> Response:
        """A POST, since a token may be in it, which no URL may hold."""
        refuse_parameters(request)
        body = RefsSerializer(data=fields_of(request))
        body.is_valid(raise_exception=True)
        wanted = look_up(CheckRequest(**body.validated_data, may_change_logins=level_of(request) >= Level.ADMIN))
        try:
            refs = git.list_refs(remote_of(wanted))
        except git.GitError as error:
            raise git_problem(error) from None
        branches, tags = sorted(refs.branches, key=lambda name: (name != refs.default, name)), sorted(refs.tags, key=_newest_first)
        cut = len(branches) > MOST or len(tags) > MOST
        return Response({"default": refs.default, "branches": branches[:MOST], "tags": tags[:MOST], "cut": cut})


def _newest_first(tag: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts v1.10 before v1.9: numbers by their value, the highest first."""
    parts = re.split(r"([0-9]{1,18})", tag)  # every second one is a number
    return [(0, -int(part), "") if place % 2 else (1, 0, part) for place, part in enumerate(parts)], tag
