"""What schemathesis is told besides the schema: which rows there are, and that no answer may hold a secret (SCHEMATHESIS_HOOKS)."""

import json
import os
from typing import Any

import schemathesis

NOBODY = os.environ.get("NOBODY") == "1"
PLANTED: list[str] = json.loads(os.environ["PLANTED_SECRETS"])


@schemathesis.check
def no_secret_is_told(ctx: Any, response: Any, case: Any) -> None:
    """Fail where headers or body repeat something that was planted, in either spelling of JSON."""
    told = response.content + repr(response.headers).encode()
    for secret in PLANTED:
        if secret.encode() in told:
            raise AssertionError("a planted secret is in the answer")


@schemathesis.check
def nobody_gets_anything(ctx: Any, response: Any, case: Any) -> None:
    """Fail where who has not logged in is answered; before that a request may be malformed, or a method not known."""
    if NOBODY and response.status_code not in (400, 401, 404, 405):
        raise AssertionError(f"somebody who has not logged in was answered {response.status_code}")


@schemathesis.hook
def map_body(ctx: Any, body: Any) -> Any:
    """Half of the checks are of a repository that is there, else hardly one would come as far as its remote."""
    if ctx.operation.path == "/check/" and isinstance(body, dict) and len(json.dumps(body, default=str)) % 2:
        return {**body, "repo": "exporter"}
    return body
