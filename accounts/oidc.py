"""OpenID Connect: logging in at the organisation's provider (authorization code flow with PKCE, state and nonce).

Authlib speaks the protocol; what is here says whom to trust, who somebody is, and which role they have. Nothing is asked of the
provider before somebody presses its button.
"""

from __future__ import annotations

import logging
import ssl
from typing import Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from authlib.integrations.requests_client import OAuth2Session
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from joserfc.errors import JoseError
from requests import RequestException
from requests.adapters import HTTPAdapter

from accounts import users
from accounts.limits import wait_for
from accounts.login import log_in
from accounts.models import AuditEntry, Identity
from accounts.pages import too_many_requests
from accounts.roles import ROLES

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
NEXT = "oidc_next"
#: The client's secret is no key to sign with (RFC 8725, section 2.1), and none is none.
ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
#: What a provider that does not answer, or not as it should, raises in Authlib, joserfc and requests.
FAILURES = (AuthlibBaseError, JoseError, RequestException, ValueError, KeyError, TypeError, RuntimeError)


class Refused(Exception):
    """The provider knows them, the portal does not let them in; the message says why."""


class _TrustingAdapter(HTTPAdapter):
    """Trusts the system's authorities and those of `auth.oidc_ca_bundle`."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> Any:
        context = ssl.create_default_context()
        if settings.PORTAL.auth.oidc_ca_bundle:
            context.load_verify_locations(settings.PORTAL.auth.oidc_ca_bundle)
        return super().init_poolmanager(*args, ssl_context=context, **kwargs)


class Session(OAuth2Session):
    """What asks the provider: bounded in time, led elsewhere by nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, default_timeout=TIMEOUT_SECONDS, **kwargs)
        self.mount("https://", _TrustingAdapter())

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send one request."""
        return super().request(method, url, *args, **{**kwargs, "allow_redirects": False})


class Provider(DjangoOAuth2App):
    """The configured provider."""

    client_cls = Session

    def __init__(self) -> None:
        auth = settings.PORTAL.auth
        super().__init__(
            DjangoIntegration("oidc"),
            "oidc",
            client_id=auth.oidc_client_id,
            client_secret=auth.oidc_client_secret.get_secret_value(),
            server_metadata_url=f"{auth.oidc_issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": " ".join(auth.oidc_scopes), "code_challenge_method": "S256"},
        )

    def load_server_metadata(self) -> Any:
        """The discovery document. Raises ValueError where it is another issuer's (OpenID Connect Discovery 1.0, section 4.3)."""
        metadata = super().load_server_metadata()
        if metadata.get("issuer") != settings.PORTAL.auth.oidc_issuer:
            raise ValueError("the discovery document names another issuer than auth.oidc_issuer")
        offered = metadata.get("id_token_signing_alg_values_supported") or []
        metadata["id_token_signing_alg_values_supported"] = [name for name in offered if name in ALGORITHMS] or ["RS256"]
        return metadata

    def claims(self, request: HttpRequest) -> dict[str, Any]:
        """Who has come back from the provider. Raises one of FAILURES for what does not add up."""
        auth = settings.PORTAL.auth
        options = {
            "iss": {"essential": True, "value": auth.oidc_issuer},
            "aud": {"essential": True, "value": auth.oidc_client_id},
        }
        token = self.authorize_access_token(request, claims_options=options)
        claims = dict(token.get("userinfo") or {})
        if not claims.get("sub"):
            raise ValueError("the provider sent no ID token")
        wanted = {auth.oidc_name_claim, auth.oidc_role_claim, *(["email"] if auth.oidc_allowed_domains else [])} - {""}
        if wanted - set(claims) and self.server_metadata.get("userinfo_endpoint"):
            more = dict(self.userinfo(token=token))
            if more.get("sub") == claims["sub"]:  # OpenID Connect Core 1.0, section 5.3.2
                claims = {**more, **claims}
        return claims


def _configured() -> None:
    if not settings.PORTAL.auth.oidc_issuer:
        raise Http404


@require_safe
@never_cache
def oidc_start(request: HttpRequest) -> HttpResponse:
    """`/login/oidc/`: lead to the provider."""
    _configured()
    if wait := wait_for(request, "login"):
        return too_many_requests(request, wait)
    target = request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    request.session[NEXT] = target if safe else "/"
    back = f"{settings.PORTAL.portal.base_url.rstrip('/')}{reverse('oidc-callback')}"
    try:
        answer: HttpResponse = Provider().authorize_redirect(request, request.build_absolute_uri(back))
    except FAILURES as error:
        return _failed(request, error)
    return answer


@require_safe
@never_cache
def oidc_callback(request: HttpRequest) -> HttpResponse:
    """`/login/oidc/callback/`: back from the provider."""
    _configured()
    if wait := wait_for(request, "login"):
        return too_many_requests(request, wait)
    try:
        claims = Provider().claims(request)
    except FAILURES as error:
        return _failed(request, error)
    try:
        user = user_of(claims)
    except Refused as error:
        AuditEntry.objects.record("login_failed", _name(claims), f"{error} Subject: {claims['sub']}")
        messages.error(request, str(error))
        return redirect("login")
    target = request.session.pop(NEXT, "/")
    log_in(request, user, "OpenID Connect")
    return redirect(target)


def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    """What went wrong is for the log; whoever logs in can but try again."""
    logger.warning("OpenID Connect: %s: %s", type(error).__name__, error)
    AuditEntry.objects.record("login_failed", "", f"OpenID Connect: {type(error).__name__}")
    messages.error(request, _("Logging in there did not work. Try again; if that does not help, the portal's log says why."))
    return redirect("login")


def _name(claims: dict[str, Any]) -> str:
    said = claims.get(settings.PORTAL.auth.oidc_name_claim)
    return said.strip() if isinstance(said, str) else ""


def role_by(claims: dict[str, Any]) -> str:
    """The highest role that these claims give; "" for none."""
    auth = settings.PORTAL.auth
    said = claims.get(auth.oidc_role_claim) if auth.oidc_role_claim else None
    values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    given = [auth.oidc_roles[value] for value in values if isinstance(value, str) and value in auth.oidc_roles]
    return max(given, key=lambda role: ROLES[role], default=auth.oidc_default_role)


def _refuse_stranger(claims: dict[str, Any]) -> None:
    domains = {domain.casefold() for domain in settings.PORTAL.auth.oidc_allowed_domains}
    email = str(claims.get("email") or "")
    if domains and not (claims.get("email_verified") is True and email.rpartition("@")[2].casefold() in domains):
        raise Refused(_("Only accounts with an e-mail address of this organisation may log in here."))


def user_of(claims: dict[str, Any]) -> Any:
    """The user whom these claims name; made at their first login. Raises Refused.

    They are known by issuer and subject alone: whoever could choose their name at the provider could else become anybody here.
    """
    _refuse_stranger(claims)
    role = role_by(claims)
    if not role:
        raise Refused(_("Your account there gives you no role here. Ask whoever runs this portal."))
    issuer = settings.PORTAL.auth.oidc_issuer
    known = Identity.objects.filter(issuer=issuer, subject=str(claims["sub"])).select_related("user").first()
    user: Any = known.user if known else _new_user(claims, issuer, role)
    if not user.is_active:
        raise Refused(_("Your account here is disabled. Ask whoever runs this portal."))
    if known and settings.PORTAL.auth.oidc_role_claim:
        try:
            users.set_role(user, role, actor=user.get_username())
        except users.LastAdmin:
            logger.warning("%s stays an admin though the provider says %s: nobody else could administer the portal", user, role)
    return user


def _new_user(claims: dict[str, Any], issuer: str, role: str) -> Any:
    model: Any = get_user_model()
    name = model.normalize_username(_name(claims))
    try:
        model._meta.get_field("username").run_validators(name)
        if not name or model._default_manager.filter(username__iexact=name).exists():
            raise ValidationError("taken")
        with transaction.atomic():
            user = model._default_manager.create_user(name)
            user.groups.set(Group.objects.filter(name=role))
            Identity.objects.create(user=user, issuer=issuer, subject=str(claims["sub"]))
            AuditEntry.objects.record("user_created", name, f"role: {role}, by OpenID Connect", actor=name)
    except (ValidationError, IntegrityError):
        raise Refused(
            _("Your name there is taken here by another account, or can't be a user name. Ask whoever runs this portal.")
        ) from None
    return user
