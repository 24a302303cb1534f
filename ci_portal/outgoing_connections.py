"""Connections to git hosts and registries: whom they trust, which addresses they may dial, how much is taken from them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, TimeoutError

from ci_portal import outgoing

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
#: Longest that one answer's head may take, however slowly it drips.
ANSWER_SECONDS = 30.0

#: The addresses of a host and port that may be dialled; raises `outgoing.Refused` and `outgoing.Unknown`.
Guard = Callable[[str, int], list[str]]


class AddressRefused(HTTPError):
    """The guard lets nothing through to this host; the message says why."""


class _Guarded:
    """Dials only what its guard gives for a name, in its one look-up: no second one could differ."""

    guard: Guard
    sock: socket.socket | None
    _dns_host: str
    port: int

    @property
    def is_connected(self) -> bool:
        """Whether it can be used once more, which is judged anew: the configuration may have changed."""
        if not super().is_connected or self.sock is None:
            return False
        try:
            return outgoing.is_allowed(ip_address(self.sock.getpeername()[0].partition("%")[0]))
        except OSError:  # it has just ended
            return False

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            allowed = self.guard(name.strip("[]"), self.port)
        except outgoing.Refused as error:
            raise AddressRefused(str(error)) from None
        except outgoing.Unknown as error:
            raise NameResolutionError(name, self, socket.gaierror(str(error))) from None  # type: ignore[arg-type]
        try:
            for address in allowed[:-1]:
                self._dns_host = address
                try:
                    return self._dial()
                except (NewConnectionError, ConnectTimeoutError):
                    continue
            self._dns_host = allowed[-1]
            return self._dial()
        finally:
            self._dns_host = name  # certificates are made for the name

    def _dial(self) -> socket.socket:
        dialed: socket.socket = super()._new_conn()
        return dialed


class _Bounded:
    """Waits ANSWER_SECONDS for the whole head of an answer: alone, each byte of it would begin READ_SECONDS anew."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        late = threading.Event()
        watch = threading.Timer(ANSWER_SECONDS, self._give_up, (late,))
        watch.daemon = True
        watch.start()
        try:
            response = super().getresponse()
        except (OSError, HTTPException):
            if not late.is_set():
                raise
        finally:
            watch.cancel()
        if late.is_set():  # the end of the connection reads like that of the head, or as if the other side had broken it
            raise TimeoutError("the answer's head did not end")
        return response

    def _give_up(self, late: threading.Event) -> None:
        late.set()
        if self.sock is not None:
            with suppress(OSError):  # it has just ended
                # Of the plain socket: TLS's own would wait for the other side.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def _pool(pool: type, connection: type, guard: Guard | None) -> Any:
    kinds: tuple[type, ...] = (_Guarded, _Bounded) if guard else (_Bounded,)
    dialing = type("Portal" + connection.__name__, (*kinds, connection), {"guard": staticmethod(guard)} if guard else {})
    return type("Portal" + pool.__name__, (pool,), {"ConnectionCls": dialing})


@lru_cache(maxsize=16)
def connections(ca_pem: str, guard: Guard | None = None) -> urllib3.PoolManager:
    """Connections that trust the system's certificates and these; kept, because reading the system's takes milliseconds.

    Raises ssl.SSLError where `ca_pem` is no PEM.
    """
    context = ssl.create_default_context()
    if ca_pem.strip():
        context.load_verify_locations(cadata=ca_pem)
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    # As many are kept for each host as repos.git asks it at once.
    pool = urllib3.PoolManager(num_pools=32, maxsize=8, ssl_context=context, timeout=timeout, retries=False)
    pool.pool_classes_by_scheme = {
        "http": _pool(HTTPConnectionPool, HTTPConnection, guard),
        "https": _pool(HTTPSConnectionPool, HTTPSConnection, guard),
    }
    return pool


def body_of(response: urllib3.BaseHTTPResponse, limit: int, seconds: float) -> bytes | None:
    """The answer's body; None, and the connection closed, where it has more than `limit` bytes or takes longer, however it drips.

    Raises urllib3's errors.
    """
    deadline, body = time.monotonic() + seconds, bytearray()
    watch = threading.Timer(seconds, _end, (response,))  # one read may wait for a chunk's head without end
    watch.daemon = True
    watch.start()
    try:
        while len(body) <= limit and (piece := response.read1(16384)):
            body += piece
    finally:
        watch.cancel()
    if len(body) > limit or time.monotonic() > deadline:
        response.close()
        return None
    response.release_conn()
    return bytes(body)


def _end(response: urllib3.BaseHTTPResponse) -> None:
    with suppress(OSError, ValueError, RuntimeError):  # it has just been read to its end
        response.shutdown()
