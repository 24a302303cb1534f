"""The connection to the API server, and what its answers mean: the only importer of `kubernetes`.

The library reads kubeconfig or the pod's own account, keeps tokens fresh and sets up TLS; requests are JSON over the
connection pool it configured. Its models would cost ten times the time, and it has no parameter for `sinceTime`.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import orjson
import urllib3
import yaml
from kubernetes import client, config
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, SSLError, TimeoutError

from runners.backends.base import BackendError, Refused, Unreachable

MERGE_PATCH = "application/merge-patch+json"
_CONNECT_SECONDS, _READ_SECONDS = 3, 10
_CONNECTIONS = 16  # kept alive; streams beyond them get their own


class ApiError(Exception):
    """The API server answered with an error; `status` 0 where it did not answer at all."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


class Api:
    """JSON requests to one cluster. Safe to use from several threads; connects at the first request."""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self.kubeconfig, self.context = kubeconfig, context

    @cached_property
    def _configuration(self) -> client.Configuration:
        settings = client.Configuration()
        try:
            if self.kubeconfig:
                config.load_kube_config(self.kubeconfig, self.context or None, settings, persist_config=False)  # type: ignore[no-untyped-call]
            else:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        except yaml.YAMLError:  # its text may quote the file
            raise ApiError(0, f"the kubeconfig {self.kubeconfig} can't be used: it is no valid YAML") from None
        except (config.ConfigException, OSError, ValueError) as error:
            where = f"the kubeconfig {self.kubeconfig}" if self.kubeconfig else "the pod's service account"
            raise ApiError(0, f"{where} can't be used: {error}") from None
        settings.keep_alive = True
        settings.connection_pool_maxsize = _CONNECTIONS
        settings.retries = False
        return settings

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        pool: urllib3.PoolManager = client.ApiClient(self._configuration).rest_client.pool_manager
        return pool

    def request(
        self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None, content_type: str = "application/json"
    ) -> tuple[Any, list[str]]:
        """Ask; return the parsed answer and the server's warnings. Raises ApiError.

        An API server that has just started knows no Roles yet and forbids everything (seen on 1.35), so a change that it forbids
        is asked for once more when it says that it is ready; while it is not, that is an error 503.
        """
        data = None if body is None else orjson.dumps(body)
        reply = self._ask(method, path, query, data, content_type)
        if reply.status == 403 and method != "GET":
            if self._ask("GET", "/readyz").status != 200:
                raise ApiError(503, f"it is not ready, and said meanwhile: {_failed(403, reply.data)}")
            reply = self._ask(method, path, query, data, content_type)
        if reply.status >= 400:
            raise _failed(reply.status, reply.data)
        return orjson.loads(reply.data), [_warning(text) for text in reply.headers.getlist("warning")]

    def _ask(
        self, method: str, path: str, query: dict[str, str] | None = None, data: bytes | None = None, content_type: str = ""
    ) -> urllib3.BaseHTTPResponse:
        """Send and read the whole answer. A connection that the server had closed is tried again: all requests may be repeated."""
        for attempt in (1, 2):
            try:
                reply = self._send(method, path, query, _READ_SECONDS, data, content_type)
                break
            except ProtocolError as error:
                if attempt == 2:
                    raise ApiError(0, _unreachable(error)) from None
            except HTTPError as error:
                raise ApiError(0, _unreachable(error)) from None
        return reply

    def stream(self, path: str, query: dict[str, str], read_seconds: float) -> urllib3.BaseHTTPResponse:
        """Open a GET whose body the caller reads (urllib3's errors are its to handle) and closes. Raises ApiError."""
        try:
            reply = self._send("GET", path, query, read_seconds, preload=False)
            if reply.status >= 400:
                raise _failed(reply.status, reply.data)
        except HTTPError as error:
            raise ApiError(0, _unreachable(error)) from None
        return reply

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None,
        read_seconds: float,
        body: bytes | None = None,
        content_type: str = "",
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        login = self._configuration.auth_settings().get("BearerToken")
        headers = {"Accept": "application/json"} if preload else {}
        if login and login["value"]:
            headers["Authorization"] = login["value"]
        if body is not None:
            headers["Content-Type"] = content_type
        return self._pool.request(
            method,
            f"{self._configuration.host}{path}{'?' + urlencode(query) if query else ''}",
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_seconds),
            preload_content=preload,
            redirect=False,
        )

    def close(self) -> None:
        """Close what is kept alive."""
        if "_pool" in self.__dict__:
            self._pool.clear()


def as_backend_error(error: ApiError, what: str = "The build Job") -> BackendError:
    """What the answer means for a build: Unreachable where trying again may help, Refused where it can't."""
    if error.status == 0:
        return Unreachable(f"The cluster can't be reached: {error.message.rstrip('.')}.")
    if error.status == 401:
        return Unreachable("The cluster does not accept the portal's own login (401): renew its kubeconfig or service account.")
    if error.status == 429 or error.status >= 500:
        return Unreachable(f"The cluster can't answer now ({error.status}): {error.message.rstrip('.')}.")
    return Refused(f"{what} was refused by the cluster: {readable(error.message)}.")


def readable(message: str) -> str:
    """An API server's message for a person: without the object's own name in front, and with what to do where that is known."""
    message = message.strip().rstrip(".")
    forbidden = re.search(r'User "([^"]+)" cannot (\w+) resource "([\w/]+)".*?(?: in the namespace "([^"]+)")?$', message)
    if forbidden:
        user, verb, resource, namespace = forbidden.groups()
        where = f" in namespace {namespace}" if namespace else ""
        return f"{user} may not {verb} {resource}{where}: give it the Role that deploy/ has for it"
    missing = re.fullmatch(r'namespaces "([^"]+)" not found', message)
    if missing:
        return f"there is no namespace {missing[1]}: create it, or set kubernetes.namespace to the one for builds"
    return re.sub(r'^(?:Error creating: )?[\w.]+ "[^"]*" is (forbidden|invalid): ', "", message)


def _failed(status: int, body: bytes) -> ApiError:
    try:
        answer = orjson.loads(body)
        return ApiError(status, str(answer.get("message") or answer.get("reason")), str(answer.get("reason", "")))
    except (ValueError, AttributeError):
        return ApiError(status, body[:300].decode("utf-8", "replace"))


def _unreachable(error: HTTPError) -> str:
    """One sentence without addresses of memory and class names, which urllib3's own texts have."""
    if isinstance(error, SSLError):
        what = "its certificate is not trusted" if "CERTIFICATE_VERIFY" in str(error) else "the TLS handshake failed"
        return f"{what} ({error})"
    if isinstance(error, NewConnectionError):
        return str(error).rpartition(": ")[2]
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    return "the connection was closed before an answer came" if isinstance(error, ProtocolError) else str(error)


def _warning(header: str) -> str:
    """The text of a Warning header: 299 - "text"."""
    found = re.match(r'\d{3} \S+ "(.*?)(?<!\\)"', header)
    return found[1].replace('\\"', '"').replace("\\\\", "\\") if found else header
