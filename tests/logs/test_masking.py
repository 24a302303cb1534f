"""Secrets are replaced in every spelling, however the bytes are cut."""

import base64
import json
import math
import random
import re
import shlex
import subprocess
from urllib.parse import quote, quote_plus

import pytest

from logs.masking import Masker, forms

TOKEN = "ghp_Kx91/bTzQ+88Wm=?"
ODD = 'it\'s "mine" & $5 ü\\'
KEY = """-----BEGIN KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmU+/AAAEbm9uZQ==
QyNTUxOQAAACCm3FKwhqXK3Xo9KDLlpZ9G7h8oQ1
AAAB==
-----END KEY-----
"""
SECRETS = [TOKEN, ODD, KEY]


def mask(data: bytes, secrets: list[str] | None = None) -> bytes:
    masker = Masker(SECRETS if secrets is None else secrets)
    return masker.feed(data) + masker.flush()


@pytest.mark.parametrize("secret", [TOKEN, ODD])
@pytest.mark.parametrize(
    "spell",
    [
        str,
        lambda text: quote(text, safe=""),
        lambda text: quote(text),
        quote_plus,
        lambda text: re.sub("%..", lambda escape: escape[0].lower(), quote(text, safe="")),
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    ],
)
def test_it_masks_a_secret_in_each_spelling(secret: str, spell):
    assert mask(f"a {spell(secret)} b".encode()) == b"a *** b"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_masks_json(ascii_only: bool):
    assert mask(json.dumps({"password": ODD}, ensure_ascii=ascii_only).encode()) == b'{"password": "***"}'


def test_it_masks_what_the_shell_quotes():
    masked = mask(f"+ login {shlex.quote(ODD)}\n".encode())
    assert masked == b"+ login '***'\n"


def test_it_masks_what_set_x_prints():
    script = f"set -x; : {shlex.quote(ODD)} {shlex.quote(TOKEN)}"
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}).stderr
    assert mask(printed) == b"+ : '***' '***'\n"


def test_it_masks_what_printf_q_prints():
    printed = subprocess.run(["bash", "-c", 'printf %q "$1"', "-", TOKEN], capture_output=True, check=True).stdout
    assert mask(printed) == b"***"


@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_at_every_alignment_keeps_no_more_than_what_stands_around(before: int, after: int, encode):
    raw = b"x" * before + TOKEN.encode() + b"y" * after
    masked = mask(encode(raw))
    assert masked.count(b"***") == 1
    left, right = masked.split(b"***")
    # The characters that are left encode the surroundings and at most some bits of one byte on each side.
    assert len(left) <= math.ceil(before * 8 / 6)
    assert len(right.rstrip(b"=")) <= math.ceil(after * 8 / 6) + 1


def test_it_masks_the_password_in_a_basic_authorization_header():
    header = base64.b64encode(f"robot:{TOKEN}".encode())
    assert header[12:] not in mask(b"Authorization: Basic " + header)


def test_it_masks_each_line_of_a_secret():
    assert mask(KEY.encode()) == b"***\n" * 5
    for line in KEY.splitlines():
        assert mask(f"> {line} <".encode()) == b"> *** <"


def test_it_masks_lines_that_end_in_carriage_returns():
    assert mask(KEY.replace("\n", "\r\n").encode()) == b"***\r\n" * 5


@pytest.mark.parametrize("command", [["base64"], ["base64", "-w64"], ["base64", "-w0"], ["xxd", "-p"], ["openssl", "base64"]])
def test_it_masks_what_tools_make_of_a_key_file(command: list[str]):
    try:
        printed = subprocess.run(command, input=KEY.encode(), capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    assert all(len(line) <= 7 for line in mask(printed).splitlines())


def test_it_leaves_short_secrets():
    assert mask(b"the letters abc1234 stay", ["abc1234"]) == b"the letters abc1234 stay"


def test_it_leaves_what_is_no_secret():
    data = random.Random(1).randbytes(100_000)
    assert mask(data) == data


def test_it_does_nothing_without_secrets():
    assert mask(b"anything", []) == b"anything"


def test_overlapping_secrets_are_masked_together():
    assert mask(b"<abcdefghijkl>", ["abcdefgh", "efghijkl"]) == b"<***>"


def test_the_longer_of_two_secrets_wins():
    assert mask(b"<abcdefghijkl>", ["abcdefgh", "abcdefghijkl"]) == b"<***>"


def test_two_secrets_side_by_side_are_two():
    assert mask(b"<abcdefghabcdefgh>", ["abcdefgh"]) == b"<******>"


def test_no_form_holds_a_line_feed():
    assert not any(b"\n" in form for form in forms(SECRETS))


def test_nothing_is_held_back_after_a_line_feed():
    masker = Masker(SECRETS)
    masker.feed(b"token ghp_Kx")
    assert masker.pending == len(b"ghp_Kx")
    masker.feed(b"\n")
    assert masker.pending == 0


def test_secrets_that_are_not_utf_8_are_masked():
    assert mask(b"<pass\xffword\xfe>", ["pass\udcffword\udcfe"]) == b"<***>"


def noise(rng: random.Random) -> bytes:
    words = sorted(forms(SECRETS))
    parts = []
    for _ in range(rng.randrange(1, 40)):
        word = rng.choice(words)
        begin = rng.randrange(len(word)) if rng.random() < 0.3 else 0
        stop = rng.randrange(len(word)) if rng.random() < 0.4 else len(word)
        parts.append(rng.choice([word[begin:stop], word, b"\n", b" ", b"a", rng.randbytes(3)]))
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(150))
def test_it_is_the_same_however_the_bytes_are_cut(seed: int):
    rng = random.Random(seed)
    data = noise(rng)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(30)))
    masker = Masker(SECRETS)
    masked = b"".join(masker.feed(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)) + masker.flush()
    assert masked == mask(data)


@pytest.mark.parametrize("seed", range(50))
def test_no_form_is_left(seed: int):
    masked = mask(noise(random.Random(seed)))
    assert not any(form in masked for form in forms(SECRETS))


@pytest.mark.parametrize("seed", range(20))
def test_byte_by_byte_is_the_same(seed: int):
    data, masker = noise(random.Random(1000 + seed)), Masker(SECRETS)
    assert b"".join(masker.feed(data[i : i + 1]) for i in range(len(data))) + masker.flush() == mask(data)


def test_secrets_that_repeat_themselves_hold_back_little():
    masker = Masker(["aaaaaaaaaa"])
    assert b"".join(masker.feed(b"aaa") for _ in range(1000)) + masker.flush() == b"***"
