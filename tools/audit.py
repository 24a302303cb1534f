"""Ask advisory databases whether a locked package has a known vulnerability, and say so where none of them answers.

Exit status 0: each package was looked up, and nothing is known. 1: something is known. 3: no database knew or could be reached for
some package, so that nothing can be said of it; with --offline-ok that is 0 too, and said just as loudly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVICES = ["pypi", "osv"]


def ask(service: str, locked: str, osv_url: str) -> dict[str, dict[str, Any]]:
    """What the service says of each locked package, by name; {} where it can't be asked."""
    pip_audit = str(Path(sys.executable).parent / "pip-audit")
    command = [pip_audit, "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service, "--timeout", "15", "-r", locked]
    command += ["--osv-url", osv_url] if osv_url else []
    told = subprocess.run(command, capture_output=True, text=True)
    try:
        return {package["name"]: package for package in json.loads(told.stdout)["dependencies"]}
    except (ValueError, KeyError):
        print(f"{service}: not asked: {(told.stderr.strip().splitlines() or ['no answer'])[-1][:200]}")
        return {}


def known(package: dict[str, Any]) -> list[str]:
    """The vulnerabilities of one package, in words."""
    where = f"{package['name']} {package.get('version', '')}"
    return [
        f"{where}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Ask one service after the other until each package is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline-ok", action="store_true", help="that no database answers is no failure")
    parser.add_argument("--requirements", default="requirements.txt")
    parser.add_argument("--services", nargs="+", default=SERVICES, choices=SERVICES)
    parser.add_argument("--osv-url", default="")
    asked = parser.parse_args()
    lines = Path(asked.requirements).read_text().splitlines()
    left = {line.partition("==")[0] for line in lines if "==" in line and line[0] not in " #"}
    count, problems = len(left), []
    for service in asked.services:
        answers = ask(service, asked.requirements, asked.osv_url)
        answers = {name: package for name, package in answers.items() if name in left and "skip_reason" not in package}
        print(f"{service}: looked up {len(answers)} packages")
        problems += [line for package in answers.values() for line in known(package)]
        left -= set(answers)
        if not left:
            break
    for line in problems:
        print(f"VULNERABLE {line}")
    if problems:
        return 1
    if left:
        print(f"NOT AUDITED: no advisory database that answers here knows {len(left)} of {count} packages: audit elsewhere.")
        return 0 if asked.offline_ok else 3
    print(f"{count} packages, no known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main())
