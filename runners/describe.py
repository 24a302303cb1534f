"""From a run's row to the plain data that a backend and the registry work with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from django.conf import settings

from ci_portal.outgoing import registry_addresses
from repos.credentials import GitLogin, git_login
from repos.logins import same_place
from runners.backend import bundle
from runners.backends.base import Backend, BackendError
from runners.build import BuildSecrets, BuildSpec
from runners.models import Installation, Run
from runners.registry import Registry


def build_spec(run: Run) -> BuildSpec:
    """Describe the run's build; it follows from the row and the configuration alone.

    What is left of a run whose event was deleted is described too, so that it can be removed.
    """
    config = settings.PORTAL
    assert run.uid is not None
    return BuildSpec(
        run_id=run.pk,
        run_uid=run.uid,
        event_id=run.event_id or 0,
        name=run.name,
        repo_name=run.event.repo if run.event else "",
        repo_url=run.repo_path,
        ref=run.ref,
        commit=run.commit,
        dockerfile=run.repo_dockerfile or "Dockerfile",
        build_path=run.build_path or ".",
        registry=run.registory_add,
        image_repo=run.image_repo,
        image_name=run.image_name,
        image_tag=run.image_tag,
        registry_user=run.registry_name,
        ca_secret=run.ca_secret,
        insecure_registry=config.registry.insecure and run.registory_add == config.registry.address,
        builder=run.builder,
        build_type=run.type,
        timeout_seconds=config.build.timeout_seconds,
        cache=config.build.cache,
        broken_uid=_attempt_before(run) if run.automatic else "",
        installation=Installation.identity(),
    )


def _attempt_before(run: Run) -> str:
    return Run.objects.filter(event=run.event_id, attempt=run.attempt - 1).values_list("uid", flat=True).first() or ""


def registry_login(registry: str) -> tuple[str, str]:
    """The configured user and password for this registry; a login is never sent to another host than its own."""
    config = settings.PORTAL.registry
    return (config.username, config.password.get_secret_value()) if registry and registry == config.address else ("", "")


def build_secrets(spec: BuildSpec, login: GitLogin) -> BuildSecrets:
    """What the build needs and nobody may see."""
    username, password = registry_login(spec.registry)
    known_hosts = settings.PORTAL.git.known_hosts
    return BuildSecrets(
        git_username=login.username,
        git_password=login.password,
        ssh_key=login.ssh_key,
        known_hosts=Path(known_hosts).read_text(encoding="utf-8") if login.ssh_key and known_hosts else "",
        registry_username=username,
        registry_password=password,
    )


def secrets_of(run: Run, spec: BuildSpec) -> BuildSecrets:
    """The run's secrets from where they are stored. Raises repos.credentials.CredentialUnreadable.

    Where the repository leads to another server by now, its login is for that one and is not sent to the run's.
    """
    repository = run.event.repository if run.event else None
    if repository is None or not same_place(repository.repo, spec.repo_url):
        return build_secrets(spec, GitLogin())
    return build_secrets(spec, git_login(repository))


def registry_of(spec: BuildSpec, backend: Backend) -> Registry:
    """A client for the build's registry, with the login and the certificates that the portal has for it."""
    username, password = registry_login(spec.registry)
    trusted = bundle()
    if spec.ca_secret:
        with suppress(BackendError):  # the connection itself will tell whether the certificate was needed
            trusted += "\n" + backend.certificate(spec.ca_secret)
    # The operator's own registry may be anywhere; another one comes from an image's name, which any builder writes.
    guard = None if spec.registry == settings.PORTAL.registry.address else registry_addresses
    return Registry(spec.registry, username, password, ca_pem=trusted, insecure=spec.insecure_registry, guard=guard)
