"""The OpenAPI 3.1 description at `/schema/` and its browsable form at `/docs/`, all from the portal's own origin."""

from __future__ import annotations

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class SchemaView(SpectacularAPIView):
    """`/schema/`: YAML, or JSON where the client asks for it."""


# Swagger UI sets styles on its elements; scripts stay the portal's own files.
@method_decorator(csp_update({"style-src": [SELF, UNSAFE_INLINE]}), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """`/docs/`."""
