"""Sentences that rows hold, in the reader's language.

History, reasons and verdicts are recorded in English: scripts and other tools read them, and the API answers them so. Pages
tell them in the reader's language. Each sentence below is what one place in the code records, its {parts} filled in.
"""

from __future__ import annotations

import re
from functools import cache

from django.utils.html import format_html
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

#: More special ones first.
SENTENCES = (
    # History
    _("repository registered: {url}"),
    _("git credentials set"),
    _("git credentials replaced"),
    _("repository {name} changed: {changes}"),
    _("repository {name} added: {changes}"),
    _("repository {name} deleted"),
    _("event {name} created: {ref} at commit {commit} as {image}"),
    _("event {name} is built again"),
    _("event {name} changed: {changes}"),
    _("event {name} added: {changes}"),
    _("event {name} deleted"),
    _("attempt {number} recorded as run {name}"),
    _("run {name} launched as a {backend} build"),
    _("run {name} waits: {reason}"),
    _("run {name} started"),
    _("run {name} was ended by the cluster and is built once more: {reason}"),
    _("run {name} is to be cancelled"),
    _("run {name} succeeded: commit {commit} is {image}"),
    _("run {name} failed: {reason}"),
    _("run {name} cancelled: {reason}"),
    _("run {name} changed: {changes}"),
    _("run {name} added: {changes}"),
    _("run {name} deleted"),
    _("build {name} was removed from the {backend} backend: there is no run for it"),
    _("run {name} has ended; its build, which had not, was removed"),
    _("what was left of run {name} on the {backend} backend was removed"),
    _("{count} {kind} older than {days} day removed"),
    _("{count} {kind} older than {days} days removed"),
    _("{count} {kind} beyond the newest {newest} removed"),
    _("{count} {kind} that are not whole removed"),
    _("event"),
    _("events"),
    _("output"),
    _("outputs"),
    _("record"),
    _("records"),
    _("recorded run"),
    _("recorded runs"),
    _("the sample repository moved to {url}"),
    # Why a run waits
    _("At most {limit} builds run at once (build.max_running): it starts when its turn comes."),
    _("queued by Kueue in {queue}"),
    _("the Job is suspended"),
    _("held back by a scheduling gate"),
    _("no node has room: {told}"),
    _("waiting for the cluster to make its pod"),
    _("its containers are being started"),
    _("It could not be launched; the portal's log says more. It is tried again every minute."),
    _("{tool} is not installed on the machine that builds: install the package of that name, the build waits"),
    _(
        "only {free} are free on the disk that builds need ({folder}), less than build.disk_free_bytes ({least}): the "
        "build waits until there is room"
    ),
    _("The cluster can't be reached: {told}."),
    _("The cluster can't answer now ({status}): {told}."),
    _("The cluster does not accept the portal's own login (401): renew its kubeconfig or service account."),
    # Why it could not be launched or did not start
    _("It could not be launched within {seconds} s (build.wait_seconds). {reason}"),
    _("The machine that began to launch it has not been heard of for {minutes} minutes: see to the portal there."),
    _("{name} was refused by the cluster: {told}."),
    _("The cluster refuses the build's pod: {told}."),
    _("The image name of {container} is invalid: {image}."),
    _("The image {image} of {container} can't be pulled: {told}."),
    _("{container} can't be started: {told}."),
    _("The node can't start the pod: {told}."),
    _("The Secret {name} that ca_secret names has no ca.crt: add it."),
    _("There is no Secret {name} in the namespace of the builds: create it with a ca.crt, or empty ca_secret."),
    _("A volume of the build can't be mounted: {told}."),
    _("There is another Job {name} in the namespace, which is not this run's: delete or rename it."),
    _("The Job {name} was deleted before it could start."),
    _("There is no Secret {secret} in namespace {namespace}."),
    _("The Secret {secret} has no ca.crt."),
    _("The run ended before its step '{step}' could start."),
    # Why the clone failed
    _("The clone was refused: the git server does not accept the credentials. Enter user and token (or deploy key) anew."),
    _("The clone failed: the ssh host key of the git server is not known. Add it to git.known_hosts."),
    _("The clone failed: the git server's certificate is not trusted. Name its authority's certificate in ca_secret."),
    _("The clone failed: the git server has no such repository, or these credentials may not see it."),
    _("The clone failed: the git server can't be reached. Check its address and the network, then retry."),
    _("The clone failed: the disk is full."),
    _("The clone failed: {told}"),
    _("build_path and dockerfile must lie inside the repository, symbolic links resolved: {told}."),
    _("There is no such Dockerfile: {told}."),
    _("There is no such build_path: {told}."),
    _("The commit is not in the repository any more: {told}. Build the latest instead."),
    _("The submodules could not be fetched: see the end of the output."),
    # Why the build or its push failed
    _("Line {line} of the Dockerfile failed: {step} (exit code {code})"),
    _("Line {line} of the Dockerfile failed: {step}"),
    _("A step of the Dockerfile failed: {step} (exit code {code})"),
    _("A step of the Dockerfile failed: {step}"),
    _("The Dockerfile can't be read: {told}"),
    _("A base image can't be pulled: {told}"),
    _("The build failed: the disk is full."),
    _("The build failed: {told}"),
    _("The push was refused: the registry does not accept the login, or it may not push {image}. Check its user and password."),
    _("The push failed: the registry's certificate is not trusted. Name its authority's certificate in ca_secret."),
    _("The push failed: the registry speaks plain HTTP. Set registry.insecure if that is meant."),
    _("The push failed: the registry can't be reached. Check its address and the network, then retry."),
    _("The push failed: {told}"),
    _("The builder ended well but did not tell the digest of the image, so it can't count as pushed."),
    _("The build ended without telling the digest of its image, so it does not count as pushed."),
    _("The builder ended without reporting the pushed image's digest; its output says more."),
    _("The registry does not have the digest {digest} that the builder reported."),
    _("The image's digest could not be confirmed; the watcher's log says more."),
    _("The image's digest could not be confirmed: {told}"),
    _("The clone reported commit {commit} instead of {wanted}: nothing of this build can be trusted."),
    _("The step '{step}' ended with exit code {code}; its output says more."),
    _("The step '{step}' ended with exit code {code}."),
    _("{container} failed with exit code {code}."),
    # Why it was ended
    _("Cancelled by an anonymous user."),
    _("Cancelled by {who}. {told}"),
    _("Cancelled by {who}."),
    _("Its end was not confirmed within {seconds} s."),
    _("Superseded by event {name}."),
    _("Its event was deleted from the database, so the portal ended it."),
    _("Out of memory in {container}: give builds more (kubernetes.resources), or make them need less."),
    _("The build did not end within its time limit of {seconds} s and was stopped. {reason}"),
    _("The build did not end within its time limit of {seconds} s and was stopped."),
    _("It had not ended {late} s after its time limit of {seconds} s, so the portal gave it up."),
    _("The Job was deleted from the cluster before the build ended."),
    _("The pod was deleted before the build ended."),
    _("The Job ended without a pod ({reason}): {told}."),
    _("The node that ran the build was lost."),
    _("The node that ran the build is gone."),
    _("The node that ran the build was drained."),
    _("The node that ran the build does not answer any more."),
    _("The build had to make room for a pod of higher priority."),
    _("The node ended the build: {told}."),
    _("The node stopped the build, although nobody had deleted its pod."),
    _("The node evicted the build: {told}."),
    _("The build was evicted, it used more disk than it may: {told}."),
    _("The node did not run the build ({reason}): {told}."),
    _("The cluster ended the build: {told}."),
    _("The run vanished while its step '{step}' was running: its Job or pod was deleted, or its node was lost."),
    _("The machine that ran the build has not been heard of for {minutes} minutes: see to the portal there, and build it again."),
    _("The build's process on this machine ended without a result (it was killed, or the machine restarted): build it again."),
    _(
        "The build's process on this machine ended without a result: it was killed, or could not write to its folder. "
        "Build it again."
    ),
    _("The machine that ran the build was restarted before the build had ended: build it again."),
    _("The container in which the build ran was ended before the build had: build it again."),
    _("The build's folder on this machine was removed before the build had ended, which ended it: build it again."),
    _("The build was ended from outside on this machine, before it was done: build it again."),
    _("The build was killed (exit code 137), most likely because the machine ran out of memory."),
    _(
        "The build was ended in its step '{step}' after its time limit of {seconds} s: make it faster, or raise "
        "build.timeout_seconds."
    ),
    _("The build was ended after its time limit of {seconds} s: make it faster, or raise build.timeout_seconds."),
    _("The build could not go on on this machine ({told}): see to that and build it again."),
    _("The build was ended because it took more than {size} of disk: make it need less, or raise build.disk_bytes."),
    _(
        "The build was ended because only {free} were left on the disk that builds need, less than "
        "build.disk_free_bytes ({least}): make room there, or have fewer builds at once."
    ),
    _("The build was ended because the disk that builds need was full: make room there, or have fewer builds at once."),
    # Whether the output is whole
    _("{container} could not report what it printed"),
    _("{container}: {bytes} bytes ({returns} carriage returns at ends of lines left out)"),
    _("{container}: {missing} of {bytes} bytes are missing ({where})"),
    _("{container}: {missing} of {bytes} bytes are missing"),
    _("{container}: bytes are missing ({where})"),
    _("{container}: bytes are missing"),
    _("{container}: {more} more bytes were read than it reported ({bytes})"),
    _("{container}: its {bytes} bytes are not the ones it reported (checksums differ)"),
    _("{container}: {bytes} bytes"),
    _("cut at byte {at}: {more} more bytes were printed and not stored"),
    _("no container ran"),
    _("{missing} at byte {at}"),
)

#: Parts that may hold spaces; at most two of a sentence are, so that no text takes long to compare.
FREE = {"told", "reason", "changes", "step", "where", "who", "name", "kind", "size", "free", "least"}
#: Parts that may be sentences of their own.
_NESTED = {"told", "reason", "where", "kind"}
#: Longer texts are nothing that the portal records.
_LONGEST = 2000
#: Between the parts of a verdict.
_JOINT = "; "


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Each sentence as an expression that finds its parts."""
    return tuple((re.compile(_expression(sentence), re.DOTALL), sentence) for sentence in SENTENCES)


def _expression(sentence: str) -> str:
    pieces = re.split(r"\{(\w+)\}", sentence)
    part = {True: ".+?", False: r"\S+?"}
    return "".join(f"(?P<{p}>{part[p in FREE]})" if number % 2 else re.escape(p) for number, p in enumerate(pieces))


def translated(recorded: str) -> str | None:
    """What was recorded, in the current language; None where it is none of the sentences, or is not translated."""
    if len(recorded) > _LONGEST:
        return None
    for pattern, sentence in _patterns():
        if (found := pattern.fullmatch(recorded)) and (words := gettext(sentence)) != sentence:
            return words.format(
                **{name: (name in _NESTED and translated(part)) or part for name, part in found.groupdict().items()}
            )
    parts = recorded.split(_JOINT)
    told = [translated(part) for part in parts] if len(parts) > 1 else []
    return gettext("; ").join(part or parts[number] for number, part in enumerate(told)) if any(told) else None


def in_words(recorded: str) -> str:
    """What was recorded, in the current language where it is known in it."""
    return recorded if not recorded or _is_english() else translated(recorded) or recorded


def told(recorded: str) -> str:
    """The same for a template, which marks as English what is not known in the current language."""
    words = in_words(recorded)
    return words if not words or words != recorded or _is_english() else format_html('<span lang="en">{}</span>', words)


def _is_english() -> bool:
    return (get_language() or "en").startswith("en")
