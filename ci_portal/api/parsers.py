"""Bodies: JSON objects or forms, of bounded size; what can be read two ways is refused."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

from ci_portal.api.problems import Problem, field_error, invalid

#: Characters of text fill a small part of this; nothing that the API takes comes near it.
MAX_BYTES = 1024 * 1024
#: Fields of one JSON object, as many as Django takes of a form: an answer names each that is wrong.
MAX_FIELDS = 1000
#: Objects and lists inside one another; nothing that the API takes has more than two.
MAX_DEPTH = 10
#: A string that never ends is taken to the end of the text, so that no text needs more than one pass.
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def _bounded(context: Mapping[str, Any] | None) -> None:
    request = (context or {}).get("request")
    length = str(request.META.get("CONTENT_LENGTH") or "") if request is not None else ""
    if len(length) > 20 or (length.isdigit() and int(length) > MAX_BYTES):
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


def _check_depth(text: str) -> None:
    """Count brackets before anything is built of them. Raises ParseError."""
    depth = 0
    for piece in _BRACKET_OR_STRING.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[0], 0)
        if depth > MAX_DEPTH:
            raise ParseError(f"The JSON is nested more than {MAX_DEPTH} deep.")


class JSONParser(parsers.JSONParser):
    """Strict JSON; a name twice in one object, a nesting too deep to read and too large a body are refused."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises ParseError or Problem."""
        _bounded(parser_context)
        try:
            text = codecs.decode(stream.read(), "utf-8")
            _check_depth(text)
            return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from None


class FormParser(parsers.FormParser):
    """A form, application/x-www-form-urlencoded, of bounded size."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises Problem."""
        _bounded(parser_context)
        return super().parse(stream, media_type, parser_context)


class MultiPartParser(parsers.MultiPartParser):
    """A form, multipart/form-data, of bounded size and without files: nothing is ever uploaded to the portal."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """Read the body. Raises Problem."""
        _bounded(parser_context)
        parsed = super().parse(stream, media_type, parser_context)
        if parsed.files:
            raise invalid(*(field_error(name, "must be text: files are not taken.", "file") for name in parsed.files))
        return parsed


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
