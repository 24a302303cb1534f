"""A small OpenID Connect provider: discovery, authorization code flow with PKCE, signed ID tokens, userinfo.

It keeps to OpenID Connect Core 1.0, Discovery 1.0 and RFC 7636, and refuses what they refuse. Whoever comes is logged in as
`claims` at once; `tamper` makes it misbehave.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "ci-portal", "s3cret-of-the-client"
ADA = {"sub": "248289761001", "preferred_username": "ada", "email": "ada@example.com", "email_verified": True}


@dataclass
class Provider:
    """What a running provider knows, and what it was asked."""

    issuer: str = ""
    key: Any = None  # signs
    published: Any = None  # what others check signatures with
    claims: dict[str, Any] = field(default_factory=lambda: dict(ADA))
    only_in_userinfo: dict[str, Any] = field(default_factory=dict)
    #: Changes the claims of an ID token before it is signed.
    tamper: Callable[[dict[str, Any]], None] = lambda claims: None
    discovery: dict[str, Any] = field(default_factory=dict)
    signing: str = "RS256"
    grants: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "code_challenge_methods_supported": ["S256"],
        } | self.discovery

    def authorize(self, asked: dict[str, str]) -> str:
        """Log the visitor in; returns where to send them back to."""
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.grants[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Exchange a code, once; None for what does not fit."""
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        grant = self.grants.pop(asked.get("code", ""), None)
        if authorization != f"Basic {basic}" or grant is None or grant["redirect_uri"] != asked.get("redirect_uri"):
            return None
        challenge = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != grant["code_challenge"]:
            return None
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": grant["nonce"], **self.claims}
        self.tamper(claims)
        key = OctKey.import_key(SECRET) if self.signing == "HS256" else self.key
        header = {"alg": self.signing, "kid": "1"}
        access = secrets.token_urlsafe(16)
        self.tokens.add(access)
        id_token = jwt.encode(header, claims, key, algorithms=[self.signing])
        return {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path)
            provider.asked.append(path.path)
            if path.path == "/.well-known/openid-configuration":
                return self.answer(provider.metadata())
            if path.path == "/authorize":
                return self.answer({}, 302, provider.authorize(dict(parse_qsl(path.query))))
            if path.path == "/jwks":
                return self.answer({"keys": [provider.published.as_dict(private=False) | {"kid": "1", "use": "sig"}]})
            if path.path == "/moved":
                return self.answer({}, 302, f"{provider.issuer}/jwks")
            if path.path == "/userinfo" and self.headers["Authorization"].removeprefix("Bearer ") in provider.tokens:
                return self.answer({"sub": provider.claims["sub"], **provider.only_in_userinfo})
            return self.answer({"error": "not_found"}, 404)

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            said = {name: values[0] for name, values in parse_qs(body).items()}
            granted = provider.token(said, self.headers.get("Authorization", ""))
            self.answer(granted or {"error": "invalid_grant"}, 200 if granted else 400)

        def answer(self, content: dict[str, Any], status: int = 200, location: str = "") -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def serve(key: RSAKey, context: ssl.SSLContext | None = None) -> Iterator[Provider]:
    """Run a provider on a free port of this machine."""
    provider = Provider(key=key, published=key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    provider.issuer = f"http{'s' if context else ''}://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
