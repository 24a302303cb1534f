"""Replaces secrets by `***` in a stream of bytes, in every spelling in which a build may print them (SPEC section 10, "Masked")."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = b"***"
#: Shorter secrets are left alone: they would be found in innocent text.
MIN_SECRET = 8
#: A line of a longer secret is masked from this length on.
MIN_LINE = 4
#: How wide tools break the lines of encoded text: coreutils' base64 and MIME, PEM, `xxd -p`.
_BASE64_WIDTHS, _HEX_WIDTH = (76, 64), 60
#: Bytes of build output, the most frequent first; what is not here is rare.
_FREQUENT = b" etaoinsrlcdmupgh0123456789.-/_:bfkvywABCDEFSTRINGPMLOUx=,\"'()[]<>{}"
_FREQUENCY = {byte: len(_FREQUENT) - rank for rank, byte in enumerate(_FREQUENT)}
#: Length of an anchor; no form is shorter.
_ANCHOR = MIN_LINE


def _url(text: str) -> Iterator[str]:
    for encoded in (quote(text, safe=""), quote(text), quote(text, safe="!'()*"), quote_plus(text)):
        yield encoded
        yield re.sub(r"%..", lambda found: found[0].lower(), encoded)


def _json(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        encoded = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield encoded
        yield encoded.replace("/", "\\/")


def _shell(text: str) -> Iterator[str]:
    yield shlex.quote(text).strip("'")
    yield text.replace("'", "'\\''")  # set -x
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)  # printf %q
    yield re.sub(r'(["\\$`])', r"\\\1", text)  # inside double quotes


def _base64(raw: bytes) -> Iterator[bytes]:
    """At each alignment the part that doesn't depend on what stands around, and how it ends where nothing follows."""
    for before in range(3):
        padded = base64.b64encode(bytes(before) + raw)[(0, 2, 3)[before] :]
        whole = padded.rstrip(b"=")
        inner = whole[:-1] if (before + len(raw)) % 3 else whole
        for form in (inner, whole, padded):
            yield form
            yield form.translate(bytes.maketrans(b"+/", b"-_"))


def _wrapped(encoded: bytes, width: int) -> Iterator[bytes]:
    if len(encoded) > width:
        yield from (encoded[start : start + width] for start in range(0, len(encoded), width))


def _spellings(text: str) -> Iterator[bytes]:
    raw = text.encode("utf-8", "surrogateescape")
    yield raw
    for spell in (_url, _json, _shell):
        try:
            yield from (spelled.encode() for spelled in spell(text))
        except UnicodeEncodeError:  # not UTF-8: such bytes have no URL or JSON form
            continue
    for digits in (raw.hex().encode(), raw.hex().upper().encode()):
        yield digits
        yield from _wrapped(digits, _HEX_WIDTH)
    for number, encoded in enumerate(_base64(raw)):
        yield encoded
        if number < 6:  # a file that is encoded by itself starts at the first alignment
            yield from (line for width in _BASE64_WIDTHS for line in _wrapped(encoded, width))


def forms(secrets: Iterable[str]) -> set[bytes]:
    """Every byte string to mask for these secrets. None holds a line feed: a secret of several lines is masked line by line."""
    found: set[bytes] = set()
    for secret in secrets:
        if len(secret) < MIN_SECRET:
            continue
        found.update(form for form in _spellings(secret) if len(form) >= MIN_SECRET)
        for line in (line.strip() for line in secret.splitlines()):
            if len(line) >= MIN_SECRET:
                found.update(form for form in _spellings(line) if len(form) >= MIN_SECRET)
            elif len(line) >= MIN_LINE:
                found.add(line.encode("utf-8", "surrogateescape"))
    return {form for form in found if b"\n" not in form}


def _any_of(words: Iterable[bytes]) -> bytes:
    """A regular expression for any of the words, without trying one after the other."""
    tails: dict[bytes, set[bytes]] = {}
    for word in words:
        if word:
            tails.setdefault(word[:1], set()).add(word[1:])
    return b"(?:" + b"|".join(re.escape(first) + _any_of(rest) for first, rest in tails.items()) + b")" if tails else b""


class _Finder:
    """Finds all occurrences of any of many forms in one pass, at about 100 MB/s whatever their number.

    Each form has an anchor: four bytes of it, of which the first is as rare as can be in what builds print and the same as in other
    forms' anchors. One regular expression looks for all anchors; it is slow only where one of those few first bytes stands.
    """

    def __init__(self, wanted: Iterable[bytes]) -> None:
        self._anchors: dict[bytes, list[tuple[int, bytes]]] = {}
        #: Of forms that begin with another form only the shortest is searched for; then these are tried.
        self._longer: dict[bytes, list[bytes]] = {}
        head = b""
        for form in sorted(wanted):  # sorted: what begins with a form follows it, with nothing else between
            if head and form.startswith(head):
                self._longer[head].append(form)
            else:
                head = form
                self._longer[head] = []
        firsts: set[int] = set()
        for head in sorted(self._longer, key=len):
            offset = min(range(len(head) - _ANCHOR + 1), key=lambda i: (head[i] not in firsts, _FREQUENCY.get(head[i], 0)))
            firsts.add(head[offset])
            self._anchors.setdefault(head[offset : offset + _ANCHOR], []).append((offset, head))
        self._search = re.compile(_any_of(self._anchors)).search

    def find(self, data: bytes) -> list[tuple[int, int]]:
        """Start and end of every occurrence, overlapping ones too, in order."""
        found = []
        anchor = self._search(data) if self._anchors else None
        while anchor:
            for offset, head in self._anchors[anchor[0]]:
                start = anchor.start() - offset
                if start >= 0 and data.startswith(head, start):
                    whole = (form for form in self._longer[head] if data.startswith(form, start))
                    found.append((start, start + max(map(len, whole), default=len(head))))
            anchor = self._search(data, anchor.start() + 1)
        return sorted(found)


class Masker:
    """Masks one stream. What it returns, put together, depends on the bytes alone, never on how they were cut into pieces.

    Occurrences that overlap are replaced together by one `***`.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        wanted = forms(secrets)
        self._found = _Finder(wanted).find
        self._by_first: dict[int, list[bytes]] = {}
        for form in wanted:
            self._by_first.setdefault(form[0], []).append(form)
        self._longest = max(map(len, wanted), default=0)
        self._held = b""
        self._covered = 0  # so many of the held bytes belong to a `***` that was returned already

    @property
    def pending(self) -> int:
        """How many bytes are held back because they may be the beginning of a secret. 0 after a line feed."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """Return what can be told of the masked stream now."""
        data = self._held + data if self._held else data
        hold = self._beginning(data)
        return self._mask(data, hold, self._found(data))

    def flush(self) -> bytes:
        """Return the rest: nothing follows. Half a secret (8 bytes of one or more) is masked as well."""
        data = self._held
        found = [(0, len(data))] if len(data) >= MIN_SECRET else self._found(data)
        return self._mask(data, len(data), found)

    def _mask(self, data: bytes, hold: int, found: list[tuple[int, int]]) -> bytes:
        """Replace what was found before `hold`; hold back the rest, where more bytes may decide otherwise."""
        done = self._covered
        pieces: list[bytes] = []
        for start, stop in found:
            if start >= hold:
                break
            if start >= done:
                pieces += (data[done:start], MASK)
            done = max(done, stop)
        pieces.append(data[done:hold])
        self._held, self._covered = data[hold:], max(0, done - hold)
        return b"".join(pieces)

    def _beginning(self, data: bytes) -> int:
        """Where the longest end of `data` starts that is the beginning of a form and not a whole one; its length if none is."""
        tail = max(len(data) - self._longest + 1, data.rfind(b"\n") + 1)
        for start in range(tail, len(data)):
            candidates = self._by_first.get(data[start])
            if candidates:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in candidates):
                    return start
        return len(data)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it replaced, and what is left of one where "…" cut it short."""
    if not text:
        return text
    masker = Masker(secrets)
    pieces = [masker.feed(piece.encode("utf-8", "surrogateescape")) + masker.flush() for piece in text.split("…")]
    return "…".join(piece.decode("utf-8", "replace") for piece in pieces)
