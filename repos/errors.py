"""What can go wrong between the portal and a git remote.

Each error knows the field that the user should correct (its wire name) and a stable slug; the message is a sentence that says
what to do, and never holds a credential.
"""

from __future__ import annotations


class GitError(Exception):
    """Base: the remote could not be used for a reason that has no class of its own."""

    field = "repo"
    code = "git_failed"

    def __init__(self, message: str, field: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field or self.field
        self.code = code or self.code


class InvalidUrl(GitError):
    """The URL is none that the portal may hand to git."""

    code = "git_url_invalid"


class AddressRefused(GitError):
    """The host, or every address of it, is out of bounds by configuration."""

    code = "git_address_refused"


class HostUnreachable(GitError):
    """No address, no connection, or the server fails: may go well later."""

    code = "git_host_unreachable"


class UnknownCertificate(GitError):
    """The server's certificate is signed by nobody trusted here, expired, or made for another name."""

    field = "ca_secret"
    code = "git_certificate_unknown"


class UnknownHostKey(GitError):
    """The ssh server's host key is not in git.known_hosts."""

    code = "git_host_key_unknown"


class CredentialsRefused(GitError):
    """The remote wants other credentials, or some at all."""

    field = "token"
    code = "git_credentials_refused"


class RepositoryNotFound(GitError):
    """The host has no such repository, or shows none to these credentials."""

    code = "git_repository_not_found"


class Redirected(GitError):
    """The server sends git elsewhere; redirects are not followed."""

    code = "git_redirected"


class RefNotFound(GitError):
    """The repository has no such branch or tag, or no commit at all."""

    field = "branch"
    code = "git_ref_not_found"


class GitTimeout(GitError):
    """The remote took too long."""

    code = "git_timeout"


class TooLarge(GitError):
    """The remote sent more than the portal takes in."""

    code = "git_too_large"
