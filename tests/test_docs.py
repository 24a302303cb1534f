"""The documents, held against what they describe."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from ci_portal.config import Config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")] if path.is_file())
SECTIONS = [name for name, field in Config.model_fields.items() if isinstance(field.default, BaseModel)]


def documented(section: str) -> dict[str, str]:
    """key → default as docs/configuration.md tells it."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in body.splitlines() if line.startswith("| `")]
    return {row[0].strip("| `"): row[2].strip("` ") for row in rows}


def effective(section: str) -> dict[str, str]:
    """key → default as the model has it."""
    model = Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    defaults = {name: field.get_default() for name, field in model.model_fields.items()}
    return {name: "not set" if isinstance(value, SecretStr) else json.dumps(value) for name, value in defaults.items()}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_configuration_key_is_documented_with_its_default(section: str) -> None:
    assert documented(section) == effective(section)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []
