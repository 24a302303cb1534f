"""The whole URL map."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from accounts.account_pages import own_sessions, tokens
from accounts.audit import audit
from accounts.login import ChangePassword, ChoosePassword, Login, Logout
from accounts.oidc import oidc_callback, oidc_start
from accounts.user_pages import all_tokens, user_list, user_page
from ci_portal import pages, repository_page
from ci_portal.api.docs import DocsView, SchemaView
from ci_portal.badge import badge
from ci_portal.refs_view import RefsView
from ci_portal.views import CancelView, CheckView, ManifestView, RetryView
from events.pages import builds
from events.views import EventCollection, EventRow
from logs.output_view import OutputStatusView, OutputView
from logs.viewer_views import OutputIndexView, OutputLinesView, OutputSearchView
from logs.views import LogCollection, LogRow
from repos.views import RepositoryCollection, RepositoryRow
from runners.credentials_page import credentials
from runners.pages import build, manifest
from runners.reconcile_page import reconciliation
from runners.views import RunCollection, RunRow

handler400 = "ci_portal.api.problems.bad_request"
handler403 = "ci_portal.api.problems.forbidden"
handler404 = "ci_portal.api.problems.not_found"
handler500 = "ci_portal.api.problems.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    # The four tables
    path("repo/", RepositoryCollection.as_view(), name="repo-collection"),
    path("repo/<path:key>/", RepositoryRow.as_view(), name="repo-row"),
    path("event/", EventCollection.as_view(), name="event-collection"),
    path("event/<int:key>/", EventRow.as_view(), name="event-row"),
    path("job/", RunCollection.as_view(), name="job-collection"),
    path("job/<int:key>/", RunRow.as_view(), name="job-row"),
    path("log/", LogCollection.as_view(), name="log-collection"),
    path("log/<int:key>/", LogRow.as_view(), name="log-row"),
    # One check in one go, and what a run's backend was asked to run
    path("check/", CheckView.as_view(), name="check"),
    path("check/refs/", RefsView.as_view(), name="check-refs"),
    path("event/<int:pk>/cancel/", CancelView.as_view(), name="event-cancel"),
    path("event/<int:pk>/retry/", RetryView.as_view(), name="event-retry"),
    path("job/<int:pk>/manifest/", ManifestView.as_view(), name="job-manifest"),
    # What a run printed
    path("job/<int:key>/output/", OutputView.as_view(), name="job-output"),
    path("job/<int:key>/output/status/", OutputStatusView.as_view(), name="job-output-status"),
    path("job/<int:key>/output/index/", OutputIndexView.as_view(), name="job-output-index"),
    path("job/<int:key>/output/lines/", OutputLinesView.as_view(), name="job-output-lines"),
    path("job/<int:key>/output/search/", OutputSearchView.as_view(), name="job-output-search"),
    # Description of all this
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    # Accounts
    path("login/", Login.as_view(), name="login"),
    path("login/oidc/", oidc_start, name="oidc-start"),
    path("login/oidc/callback/", oidc_callback, name="oidc-callback"),
    path("logout/", Logout.as_view(), name="logout"),
    path("account/tokens/", tokens, name="account-tokens"),
    path("account/sessions/", own_sessions, name="account-sessions"),
    path("account/password/", ChangePassword.as_view(), name="account-password"),
    path("users/", user_list, name="users"),
    path("users/<int:pk>/", user_page, name="user"),
    path("users/link/<uidb64>/<token>/", ChoosePassword.as_view(), name="choose-password"),
    path("tokens/", all_tokens, name="all-tokens"),
    path("audit/", audit, name="audit"),
    path("credentials/", credentials, name="credentials"),
    # Pages
    path("", pages.home, name="home"),
    path("repos/<path:name>/badge.svg", badge, name="badge"),
    path("repos/<path:name>/-/edit/", repository_page.edit, name="repository-edit"),  # "-": a name may hold slashes itself
    path("repos/<path:name>/", repository_page.repository, name="repository"),
    path("builds/", builds, name="builds"),
    path("builds/<int:pk>/", build, name="build"),
    path("builds/<int:pk>/manifest/", manifest, name="build-manifest"),
    path("reconcile/", reconciliation, name="reconcile"),
    path("admin/", admin.site.urls),
    path("i18n/setlang/", set_language, name="set_language"),
    path("favicon.ico", RedirectView.as_view(url="/static/ci_portal/favicon.svg", permanent=True)),
]
