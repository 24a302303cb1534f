"""Registered repositories (table `gitstat`) and the credentials that belong to them (table `credential`)."""

from __future__ import annotations

from django.db import models

from ci_portal.api.columns import TextColumn


class RepositoryQuerySet(models.QuerySet["Repository"]):
    """Named reads."""

    def named(self, key: str) -> RepositoryQuerySet:
        """The repository that a path segment or body names: digits are an id, anything else a `repo_name` (SPEC section 10)."""
        if not (key.isascii() and key.isdigit()):
            return self.filter(repo_name=key)
        return self.filter(pk=int(key)) if len(key) <= 10 else self.none()


class Repository(models.Model):
    """Where the source is and how it is built."""

    repo_name = models.CharField(max_length=150, unique=True)
    repo = TextColumn(max_length=200)  # the git URL, never with a credential in it
    branch = TextColumn(max_length=150)
    tag = TextColumn(max_length=100)
    build_path = TextColumn(max_length=150)
    dockerfile = TextColumn(max_length=150)
    job = TextColumn(max_length=100)
    type = TextColumn(max_length=20)
    image = TextColumn(max_length=150)
    desc = TextColumn(max_length=200)
    time = models.DateTimeField(db_column="Time", auto_now_add=True, null=True)
    user = TextColumn(max_length=50)
    ca_secret = TextColumn(max_length=150)
    name = TextColumn(max_length=50)

    # New columns; each has a database default, so that other tools' INSERTs into this table go on working.
    supersede = models.BooleanField(default=False, db_default=False)  # a newer check of a branch ends what of it still waits

    objects = RepositoryQuerySet.as_manager()

    class Meta:
        db_table = "gitstat"
        ordering = ["-id"]
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.repo_name


class Credential(models.Model):
    """One secret, encrypted (see `repos.credentials`); it belongs to a repository or, for recorded runs, to a run."""

    GIT, SSH_KEY, REGISTRY = "git", "ssh_key", "registry"
    KINDS = [(GIT, "git user and token"), (SSH_KEY, "ssh deploy key"), (REGISTRY, "registry password")]

    # No database constraints towards the original's tables: adopted ones may have another integer type or engine.
    repository = models.ForeignKey(Repository, null=True, on_delete=models.CASCADE, db_constraint=False, related_name="credentials")
    run = models.ForeignKey("runners.Run", null=True, on_delete=models.CASCADE, db_constraint=False, related_name="credentials")
    kind = models.CharField(max_length=10, choices=KINDS)
    ciphertext = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "credential"
        constraints = [
            models.UniqueConstraint(fields=["repository", "kind"], name="credential_once_a_repository"),
            models.UniqueConstraint(fields=["run", "kind"], name="credential_once_a_run"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.repository_id or f'run {self.run_id}'}"
