"""The form that adds a repository: what each field of `/repo/` is called and means, for people.

It is drawn by the server and sent to `/repo/` by the browser; what may be in a field is decided there alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

    Text = str | _StrPromise


def _text(label: Text, length: int, *, help_text: Text = "", placeholder: Text = "", **attrs: Any) -> forms.CharField:
    """A field of free text that no browser should correct."""
    attrs = {"placeholder": placeholder, "autocapitalize": "none", "spellcheck": "false", "autocomplete": "off", **attrs}
    widget = forms.PasswordInput if attrs.pop("secret", False) else forms.TextInput
    required = attrs.pop("required", False)
    return forms.CharField(label=label, max_length=length, required=required, help_text=help_text, widget=widget(attrs=attrs))


class RepositoryForm(forms.Form):
    """The original's fields under the original's names, and the git login."""

    repo_name = _text(_("Name"), 150, required=True, placeholder="prometh-exporter", help_text=_("How scripts call it."))
    repo = _text(
        _("Git URL"),
        # Longer than the column's 200: a pasted URL may carry a login, which moves to fields of its own.
        1000,
        required=True,
        inputmode="url",
        placeholder="https://git.example.com/team/prometh_exporter.git",
        help_text=_("https or ssh. A user name and token in it are moved to the fields that keep them secret."),
    )
    git_user = _text(
        _("Git user"), 200, placeholder=_("none: the repository is public"), help_text=_("Who may read the repository over https.")
    )
    git_token = _text(
        _("Git token or password"),
        2000,
        secret=True,
        autocomplete="new-password",
        help_text=_("Kept encrypted; no page, log or answer ever shows it."),
    )
    deploy_key = forms.CharField(
        label=_("Deploy key"),
        required=False,
        max_length=16000,
        help_text=_("Private key for an ssh URL. Kept encrypted and never shown."),
        widget=forms.Textarea(
            attrs={"rows": 2, "placeholder": "-----BEGIN OPENSSH PRIVATE KEY-----", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    ca_secret = _text(
        _("Certificate"),
        150,
        placeholder=_("none: publicly trusted servers"),
        help_text=_(
            "Name of the CA certificate to trust: a Secret with ca.crt in the cluster, or conf/ca/<name>.crt on this machine."
        ),
    )
    branch = _text(_("Branch"), 150, placeholder=_("the remote's default branch"), help_text=_("Its newest commit is built."))
    tag = _text(
        _("Tag"), 100, placeholder=_("none: the branch is built"), help_text=_("Builds this git tag; the image gets the same tag.")
    )
    build_path = _text(
        _("Build path"), 150, placeholder=_(". (the repository's root)"), help_text=_("The build's context, inside the repository.")
    )
    dockerfile = _text(_("Dockerfile"), 150, placeholder="Dockerfile", help_text=_("Its path inside the repository."))
    image = _text(
        _("Image"), 150, placeholder=_("the configured registry and this name"), help_text=_("The image's name, without a tag.")
    )
    job = _text(_("Job"), 100, placeholder=_("made from the name"), help_text=_("How the Kubernetes Job's name begins."))
    type = _text(_("Type"), 20, placeholder="dockerfile", help_text=_("The kind of build."))
    name = _text(_("Display name"), 50, placeholder=_("none"))
    user = _text(_("Created by"), 50, placeholder=_("whoever adds it"))
    supersede = forms.BooleanField(
        label=_("Newest only"),
        required=False,
        help_text=_("A newer check of a branch cancels builds of it that still wait."),
    )
    desc = _text(_("Description"), 200, placeholder=_("none"), spellcheck="true", autocapitalize="sentences")

    def first(self) -> list[forms.BoundField]:
        """What is shown as soon as there is a URL; the name is suggested, and the rest may stay empty."""
        return [self[name] for name in ("repo_name", "branch", "tag")]

    def access(self) -> list[forms.BoundField]:
        """How to log in to the remote: the first two over https, the third over ssh."""
        return [self[name] for name in ("git_user", "git_token", "deploy_key")]

    def groups(self) -> list[tuple[Text, list[forms.BoundField]]]:
        """All other fields, under their headings."""
        return [
            (_("What to build"), [self[name] for name in ("build_path", "dockerfile", "ca_secret", "supersede")]),
            (_("What comes out"), [self[name] for name in ("image", "job", "type")]),
            (_("About it"), [self[name] for name in ("name", "user", "desc")]),
        ]
