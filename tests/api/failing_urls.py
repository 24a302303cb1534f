"""A URL map with views that fail, for the tests of what a client is told then."""

from django.core.exceptions import PermissionDenied
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView

from ci_portal.urls import urlpatterns as real

handler400 = "ci_portal.api.problems.bad_request"
handler403 = "ci_portal.api.problems.forbidden"
handler404 = "ci_portal.api.problems.not_found"
handler500 = "ci_portal.api.problems.server_error"


class Fails(APIView):
    def get(self, request):
        raise RuntimeError("the password is hunter2")

    def post(self, request):
        return Response(request.data)


def page(request):
    raise RuntimeError("the password is hunter2")


def denied(request):
    raise PermissionDenied("the password is hunter2")


urlpatterns = [path("repo/", Fails.as_view()), path("builds/", page), path("denied/", denied), *real]
