"""Logging in and out, and choosing a password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login as django_login
from django.contrib.auth import views
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from accounts import lockout, sessions
from accounts.limits import wait_for
from accounts.models import AuditEntry
from accounts.pages import account_page, too_many_requests
from accounts.sender import address_of

BACKEND = "django.contrib.auth.backends.ModelBackend"


def log_in(request: HttpRequest, user: Any, how: str) -> None:
    """Begin a session of this user. Its key is a new one: whoever knew the old one has nothing."""
    django_login(request, user, backend=BACKEND)
    sessions.start(request)
    AuditEntry.objects.record("login", user.get_username(), how)


class LoginForm(AuthenticationForm):
    """Name and password, which can't be guessed for long."""

    #: Minutes for which nothing may be tried.
    locked = 0

    def clean(self) -> dict[str, Any]:
        """Log in. Raises ValidationError; whether there is such a user, or whether it may log in, it does not tell."""
        assert self.request is not None
        name = str(self.cleaned_data.get("username") or "")
        if not name or not self.cleaned_data.get("password"):
            return self.cleaned_data
        guess, self.locked = lockout.attempt(name, address_of(self.request))
        if self.locked:
            raise ValidationError(_locked(self.locked), "locked")
        try:
            cleaned = super().clean()
        except ValidationError:
            AuditEntry.objects.record("login_failed", name)
            if lockout.is_now_locked(guess):
                AuditEntry.objects.record("lockout", name)
            raise
        lockout.forgive(guess)
        return cleaned


def _locked(minutes: int) -> str:
    return _("Too many failed attempts. For %(minutes)s min, not even the right password is tried.") % {"minutes": minutes}


class Login(views.LoginView):
    """`/login/`."""

    form_class = LoginForm
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the other way in, where there is one."""
        auth = settings.PORTAL.auth
        return super().get_context_data(**kwargs) | {"oidc_label": auth.oidc_label if auth.oidc_issuer else ""}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Log in, so many times a minute."""
        wait = wait_for(request, "login")
        return too_many_requests(request, wait) if wait else super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """The password is right."""
        log_in(self.request, form.get_user(), "password")
        return HttpResponseRedirect(self.get_success_url())

    def form_invalid(self, form: Any) -> HttpResponse:
        """It is not; where nothing was tried, a 429 that says when something will be."""
        if not form.locked:
            return super().form_invalid(form)
        context = self.get_context_data(form=form)
        return self.render_to_response(context, status=429, headers={"Retry-After": str(form.locked * 60)})


class Logout(views.LogoutView):
    """`/logout/`."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """End the session."""
        if request.user.is_authenticated:
            AuditEntry.objects.record("logout", request.user.get_username())
        answer = super().post(request, *args, **kwargs)
        if settings.PORTAL.auth.mode == "required":  # else the next page is no login, and tells nothing
            messages.success(request, _("You are logged out."))
        return answer


@method_decorator(account_page, "dispatch")
class ChangePassword(views.PasswordChangeView):
    """`/account/password/`: one's own password; every other session ends."""

    template_name = "accounts/password.html"
    success_url = reverse_lazy("account-password")
    extra_context = {"section": "account", "part": "password"}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Change it, with the old one guessed only so often."""
        wait = wait_for(request, "login")
        return too_many_requests(request, wait) if wait else super().post(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        """Store it."""
        answer = super().form_valid(form)
        self.request.session.save()  # under the new key, which Django has just given it
        sessions.end(self.request.user, but=self.request.session.session_key or "")
        AuditEntry.objects.record("password_changed", form.user.get_username())
        messages.success(self.request, _("Your password was changed. All your other sessions have ended."))
        return answer


@method_decorator(never_cache, "dispatch")
class ChoosePassword(views.PasswordResetConfirmView):
    """The page of a one-time link: choose a password, then log in with it."""

    template_name = "accounts/choose_password.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: Any) -> HttpResponse:
        """Store it; the link is spent."""
        answer = super().form_valid(form)
        sessions.end(self.user)
        AuditEntry.objects.record("password_changed", form.user.get_username(), "by a one-time link")
        messages.success(self.request, _("Your password is set. Log in with it."))
        return answer
