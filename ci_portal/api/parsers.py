"""Bodies: JSON objects or forms, of bounded size; what can be read two ways is refused."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

from ci_portal.api.problems import Problem, field_error, invalid

#: Characters of text fill a small part of this; nothing that the API takes comes near it.
MAX_BYTES = 1024 * 1024
#: Fields of one JSON object, as many as Django takes of a form: an answer names each that is wrong.
MAX_FIELDS = 1000


def _bounded(context: Mapping[str, Any] | None) -> None:
    request = (context or {}).get("request")
    length = request.META.get("CONTENT_LENGTH") if request is not None else None
    if length and int(length) > MAX_BYTES:
        raise Problem(413, "content_too_large", f"The body is larger than {MAX_BYTES} bytes.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise invalid(field_error("", f"The body has more than {MAX_FIELDS} fields."))
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise invalid(field_error(name, "is in the body twice.", "repeated"))
        name.encode()  # half a surrogate pair is a ValueError here, and could not be named in an answer
        fields[name] = value
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class JSONParser(parsers.JSONParser):
    """Strict JSON; a name twice in one object, a nesting too deep to read and too large a body are refused."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises ParseError or Problem."""
        _bounded(parser_context)
        try:
            text = codecs.decode(stream.read(), "utf-8")
            return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None


class FormParser(parsers.FormParser):
    """A form, application/x-www-form-urlencoded, of bounded size."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises Problem."""
        _bounded(parser_context)
        return super().parse(stream, media_type, parser_context)


class MultiPartParser(parsers.MultiPartParser):
    """A form, multipart/form-data, of bounded size."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises Problem."""
        _bounded(parser_context)
        return super().parse(stream, media_type, parser_context)


def fields_of(request: Any) -> dict[str, Any]:
    """The body's fields, the same for JSON and forms. Raises a 400 problem for what is no object or names a field twice."""
    data = request.data
    if hasattr(data, "lists"):
        repeated = [field_error(name, "is in the body twice.", "repeated") for name, values in data.lists() if len(values) > 1]
        if repeated:
            raise invalid(*repeated)
        return {name: value for name, value in data.items() if name != "csrfmiddlewaretoken"}
    if not isinstance(data, dict):
        raise Problem(400, "invalid", 'The body must be a JSON object, like {"repo_name": "app"}.')
    return data
