"""What the portal asks a container registry: is this image there, and may we push?

HTTP API v2 of the OCI distribution specification (https://github.com/opencontainers/distribution-spec/blob/main/spec.md),
with the two logins that registries use: Basic, and Bearer tokens (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import ssl
import urllib.parse
from dataclasses import dataclass, field

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, NameResolutionError, SSLError, TimeoutError

from ci_portal.outgoing_connections import AddressRefused, Guard, body_of, connections

#: Longest that one answer's body may take, however slowly it drips.
BODY_SECONDS = 30.0
MANIFEST_BYTES, TOKEN_BYTES = 4 * 1024 * 1024, 64 * 1024

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)

_ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# Both from the distribution specification, "Pulling manifests", and the image specification, "Digests".
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_CHALLENGE = re.compile(r'(?i)\b(basic|bearer)\s+((?:[a-z_]+=(?:"[^"]*"|[^\s,"]+)\s*,?\s*)+)')
_PARAMETER = re.compile(r'(?i)([a-z_]+)=(?:"([^"]*)"|([^\s,"]+))')

_DOCKER_HUB = {"docker.io", "index.docker.io", "registry.hub.docker.com", "registry-1.docker.io"}


class RegistryError(Exception):
    """The registry did not do what was asked; the message is a sentence for a person, `code` a stable slug."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class RegistryUnreachable(RegistryError):
    """It can't be asked now (no connection, time-out, 429, 5xx): safe to try again later."""


class RegistryRefused(RegistryError):
    """It wants another login, or this one may not do it."""


class RegistryUntrusted(RegistryError):
    """Its certificate is not one that we trust."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes


@dataclass(eq=False)
class Registry:
    """One registry and how to log in there.

    `address` is host[:port] as image names spell it (docker.io is Docker Hub); `ca_pem` holds certificates trusted beside the
    system's; `insecure` means plain HTTP; `guard` gives the addresses that may be dialled for a host, where somebody else than the
    operator chose the registry. Raises RegistryError for an address that is none.
    """

    address: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca_pem: str = field(default="", repr=False)
    insecure: bool = False
    guard: Guard | None = None
    _logins: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise _no_address(self.address)

    def confirm(self, repository: str, digest: str) -> bool:
        """Whether the registry serves a manifest with this digest in this repository. Raises RegistryError."""
        if not _DIGEST.fullmatch(digest):
            return False
        path = f"/v2/{self._repository(repository)}/manifests/{digest}"
        answer = self._ask("HEAD", path, repository, "pull")
        told = answer.headers.get("Docker-Content-Digest", "")
        if answer.status in (400, 405) or (answer.status == 200 and not told):
            # Neither HEAD nor the header is certain on every registry; the bytes themselves prove as much, or tell the fault.
            answer = self._ask("GET", path, repository, "pull", limit=MANIFEST_BYTES)
            told = f"{digest.partition(':')[0]}:{hashlib.new(digest.partition(':')[0], answer.body).hexdigest()}"
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._odd(answer)
        return told == digest

    def check_push(self, repository: str) -> None:
        """Ask for an upload to this repository and give it up again. Raises RegistryError where a push would fail."""
        answer = self._ask("POST", f"/v2/{self._repository(repository)}/blobs/uploads/", repository, "pull,push")
        if answer.status != 202:
            raise self._odd(answer)
        place = urllib.parse.urljoin(self._base, answer.headers.get("Location", ""))
        if not place.startswith(f"{self._base}/"):
            return  # the login must not go elsewhere; a registry drops unused uploads by itself
        # A login that may push may not always delete; what was asked is answered all the same.
        with contextlib.suppress(RegistryError):
            self._ask("DELETE", place, repository, "pull,push,delete")

    # From here on: one request, its login, and its errors in words.

    @property
    def _base(self) -> str:
        host = "registry-1.docker.io" if self.address.lower() in _DOCKER_HUB else self.address
        return f"{'http' if self.insecure else 'https'}://{host}"

    def _repository(self, repository: str) -> str:
        if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
            message = f"{repository!r} can't be an image's name: lower-case letters, digits and . _ - / between them"
            raise RegistryError(message, "image_name_invalid")
        official = self.address.lower() in _DOCKER_HUB and "/" not in repository
        return f"library/{repository}" if official else repository

    def _ask(self, method: str, path: str, repository: str, actions: str, limit: int = TOKEN_BYTES) -> _Answer:
        """Send one request, logging in when the registry asks for it."""
        scope = f"repository:{self._repository(repository)}:{actions}"
        url = urllib.parse.urljoin(self._base, path)
        login = self._logins.get(scope) or self._logins.get("basic", "")
        answer = self._send(method, url, login, limit)
        if answer.status == 401:
            login = self._log_in(answer, scope)
            self._logins[scope if login.startswith("Bearer ") else "basic"] = login
            answer = self._send(method, url, login, limit)
        if answer.status in (401, 403):
            self._logins.clear()
            raise self._refusal(answer, repository, actions, bearer=login.startswith("Bearer "))
        if answer.status == 429 or answer.status >= 500:
            raise RegistryUnreachable(f"{self.address} answers {answer.status}: it is busy or out of order", "registry_unreachable")
        return answer

    def _send(self, method: str, url: str, authorization: str, limit: int) -> _Answer:
        headers = {"Accept": MANIFESTS if "/manifests/" in url else "application/json", "Accept-Encoding": "identity"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            # Redirects are not followed: a push target has no need of them, and a login must not travel.
            response = connections(self.ca_pem, self.guard).request(
                method, url, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
            return _Answer(response.status, response.headers, self._body(response, limit))
        except (HTTPError, ssl.SSLError, UnicodeError) as error:
            # `from None`: what is behind it may hold the request with its login.
            raise _failure(error, urllib.parse.urlsplit(url).hostname or self.address) from None

    def _body(self, response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
        body = body_of(response, limit, BODY_SECONDS)
        if body is None:
            raise RegistryError(f"{self.address} answers with more than a registry would", "not_a_registry")
        return body

    def _log_in(self, refused: _Answer, scope: str) -> str:
        """Return the Authorization header that the challenge of a 401 asks for."""
        challenges = {
            scheme.lower(): {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(parameters)}
            for header in refused.headers.getlist("WWW-Authenticate")
            for scheme, parameters in _CHALLENGE.findall(header)
        }
        basic = "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if "bearer" in challenges:
            return self._token(challenges["bearer"], scope, basic if self.username else "")
        if not self.username:
            raise self._login_refused(sent=False)
        if "basic" not in challenges:
            raise RegistryRefused(f"{self.address} asks for a login that is neither Basic nor Bearer", "registry_login_unknown")
        return basic

    def _token(self, challenge: dict[str, str], scope: str, basic: str) -> str:
        """Fetch a Bearer token for the scope, with the login where there is one."""
        realm = urllib.parse.urlsplit(challenge.get("realm", ""))
        if not realm.hostname or realm.scheme not in (("https", "http") if self.insecure else ("https",)):
            message = f"{self.address} wants the login sent to {realm.hostname or 'nowhere'} without TLS, which was not done"
            raise RegistryRefused(message, "registry_realm_refused")
        query = urllib.parse.urlencode({"service": challenge.get("service", ""), "scope": scope})
        url = realm._replace(query="&".join(filter(None, (realm.query, query)))).geturl()
        answer = self._send("GET", url, basic, TOKEN_BYTES)
        if answer.status in (400, 401, 403):
            raise self._login_refused(sent=bool(basic))
        try:
            told = json.loads(answer.body) if answer.status == 200 else {}
            token = told.get("token") or told.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise RegistryUnreachable(f"{realm.hostname}, where {self.address} logs in, gives no token", "registry_unreachable")
        return f"Bearer {token}"

    def _login_refused(self, sent: bool) -> RegistryRefused:
        if sent:
            return RegistryRefused(f"{self.address} refuses the user name or password", "registry_credentials_refused")
        return RegistryRefused(f"{self.address} wants a login: set its user name and password", "registry_login_needed")

    def _refusal(self, answer: _Answer, repository: str, actions: str, bearer: bool) -> RegistryRefused:
        if answer.status == 401 and not (bearer and self.username):
            return self._login_refused(sent=bool(self.username))
        verb, code = ("push to", "registry_push_forbidden") if "push" in actions else ("read", "registry_pull_forbidden")
        return RegistryRefused(f"{self.address} does not let this login {verb} {repository}: give it the right to", code)

    def _odd(self, answer: _Answer) -> RegistryError:
        if b"HTTPS server" in answer.body:  # what Go's servers, most registries among them, answer to plain HTTP
            return RegistryError(f"{self.address} speaks TLS: it must not be set as insecure", "registry_wants_tls")
        if answer.status in (404, 405) and answer.headers.get("Docker-Distribution-Api-Version"):
            return RegistryError(f"{self.address} takes no image of this name (answer {answer.status})", "registry_name_refused")
        message = f"{self.address} answers {answer.status}, as no registry would: check the address"
        return RegistryError(message, "not_a_registry")


def _no_address(address: str) -> RegistryError:
    return RegistryError(f"{address!r} is not a registry's address: write host or host:port", "registry_address_invalid")


def _failure(error: Exception, host: str) -> RegistryError:
    """Say in words why there is no answer from `host`: the registry itself, or where it logs in."""
    if isinstance(error, AddressRefused):
        return RegistryRefused(str(error), "registry_address_refused")
    cause = error.args[0] if isinstance(error, SSLError) and error.args else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        advice = "name its authority in ca_secret or git.ca_bundle"
        message = f"the certificate of {host} is not trusted ({cause.verify_message}): {advice}"
        return RegistryUntrusted(message, "registry_certificate_unknown")
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return RegistryUntrusted(f"{host} does not speak TLS; registry.insecure would allow plain HTTP", "registry_without_tls")
    if isinstance(error, ssl.SSLError):
        return RegistryUntrusted("the certificates to trust the registry with can't be read: PEM is needed", "registry_ca_invalid")
    if isinstance(error, LocationParseError | UnicodeError):
        return _no_address(host)
    known = {NameResolutionError: "its name is not known", TimeoutError: "no answer in time"}
    why = next((text for kind, text in known.items() if isinstance(error, kind)), "no connection")
    return RegistryUnreachable(f"{host} can't be reached ({why}): check the address, or try again later", "registry_unreachable")
