"""The whole URL map."""

from django.urls import URLPattern, URLResolver

handler400 = "ci_portal.api.problems.bad_request"
handler403 = "ci_portal.api.problems.forbidden"
handler404 = "ci_portal.api.problems.not_found"
handler500 = "ci_portal.api.problems.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    # The four tables
    # One check in one go, and what a run would create: POST /check/, GET /job/<id>/manifest/
    # What a run printed: GET /job/<id>/output/
    # Description of all this: /schema/, /docs/
    # Accounts: /login/, /logout/
    # Pages
]
