"""docs/threat-model.md names a test for each threat, and each of them is there."""

import re

import pytest
from django.conf import settings

MODEL = (settings.BASE_DIR / "docs" / "threat-model.md").read_text(encoding="utf-8")
THREATS = [line.split("|")[1:-1] for line in MODEL.splitlines() if re.match(r"\| [STRIDE] \|", line)]


def test_every_kind_of_threat_is_looked_at():
    assert {threat[0].strip() for threat in THREATS} == set("STRIDE")


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat[2].strip()[:60])
def test_each_threat_has_a_defence_and_tests_that_are_there(threat: list[str]):
    actor, what, defence, tests = (cell.strip() for cell in threat[1:])
    assert actor
    assert what
    assert defence
    paths = re.findall(r"`(tests/[^`]+\.py)`", tests)
    assert paths
    for path in paths:
        file = settings.BASE_DIR / path
        assert file.is_file(), path
        assert re.search(r"^def test_", file.read_text(encoding="utf-8"), re.MULTILINE), path
