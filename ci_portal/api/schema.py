"""How the portal's URLs are described in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular import openapi
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter

from ci_portal.api.problems import CONTENT_TYPE
from ci_portal.api.resource import Collection, Row

PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "about:blank, or what the code means."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that says what to do."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "request_id": {"type": "string", "description": "The same as in the X-Request-ID header."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}, "code": {"type": "string"}},
                "required": ["field", "message", "code"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "request_id", "code"],
}
NAMES = {
    "id": {"type": "integer", "description": "Which row is meant."},
    "repo_name": {"type": "string", "description": "Which row is meant, where no id is given."},
}


class AutoSchema(openapi.AutoSchema):
    """Adds what the portal's URLs have in common: problems, and rows named on their collection."""

    def get_operation_id(self) -> str:
        """Like event_list, event_partial_update, and event_partial_update_named on the collection."""
        name: str = super().get_operation_id()
        return f"{name}_named" if self._names_a_row() else name

    def _names_a_row(self) -> bool:
        return isinstance(self.view, Collection) and self.method in ("PATCH", "DELETE")

    def _identifiers(self) -> dict[str, Any]:
        return {name: NAMES[name] for name in self.view.identifiers}  # type: ignore[attr-defined]

    def _is_create_operation(self) -> bool:
        return self.method == "POST" and (isinstance(self.view, Collection) or super()._is_create_operation())

    def get_override_parameters(self) -> list[Any]:
        """The query parameters that name a row on its collection, and what a row's path holds."""
        if self._names_a_row():
            return [
                OpenApiParameter(name, schema, OpenApiParameter.QUERY, description=schema["description"])
                for name, schema in self._identifiers().items()
            ]
        if isinstance(self.view, Row):
            named = "repo_name" in self.view.identifiers
            kind = {"type": "string"} if named else {"type": "integer"}
            described = "Digits are an id, anything else a repo_name." if named else "The row's id."
            return [OpenApiParameter("key", kind, OpenApiParameter.PATH, description=described, required=True)]
        return []

    def _get_request_body(self, direction: str = "request") -> Any:
        """On a collection, a body may name its row."""
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        if not self._names_a_row():
            return body
        if self.method == "DELETE":
            schema = {"type": "object", "properties": self._identifiers()}
            return {"content": {media_type: {"schema": schema} for media_type in self.map_parsers()}}
        for content in body["content"].values():
            content["schema"] = {"allOf": [content["schema"], {"type": "object", "properties": {"id": NAMES["id"]}}]}
        return body

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        """Every operation may end in a problem: the request's fault, or a database that is away."""
        component = ResolvedComponent("Problem", "schemas", schema=PROBLEM, object="Problem")  # type: ignore[no-untyped-call]
        self.registry.register_on_missing(component)
        content = {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        refused = {"description": "What is wrong with the request; nothing was changed.", "content": content}
        away = {"description": "The portal can't answer now; Retry-After says when to try again.", "content": content}
        return {**super()._get_response_bodies(direction), "4XX": refused, "503": away}

    def get_auth(self) -> list[Any]:
        """With auth.mode open, nothing is needed."""
        return [*super().get_auth(), *([{}] if settings.PORTAL.auth.mode == "open" else [])]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """`Authorization: Token …`."""

    target_class = "accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A header with a prefix, which OpenAPI knows only as a key."""
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "The word Token, a space, and the token."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A browser's session."""

    target_class = "accounts.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The cookie; writes also need the X-CSRFToken header."""
        description = "A browser's session; writes also need the X-CSRFToken header."
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME, "description": description}
