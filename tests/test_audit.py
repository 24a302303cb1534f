"""`tools/audit.py` fails for a known vulnerability, and tells it from a database that can't be asked."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from django.conf import settings

HASH = "a" * 64
ADVISORY = {
    "id": "TEST-2026-1",
    "summary": "An advisory of the tests",
    "affected": [
        {
            "package": {"name": "harmless", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
            "versions": ["1.0"],
        }
    ],
}


@pytest.fixture
def database() -> Iterator[HTTPServer]:
    """An advisory database of the OSV kind; `told` is what it says of each package."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(self.server.told).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.told = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def audit(folder: Path, url: str, *arguments: str) -> tuple[int, str]:
    (folder / "locked.txt").write_text(f"harmless==1.0 \\\n    --hash=sha256:{HASH}\n")
    command = [
        sys.executable,
        "tools/audit.py",
        "--requirements",
        str(folder / "locked.txt"),
        "--services",
        "osv",
        "--osv-url",
        url,
    ]
    ended = subprocess.run([*command, *arguments], cwd=settings.BASE_DIR, capture_output=True, text=True)
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("arguments", [(), ("--offline-ok",)])
def test_a_known_vulnerability_fails(database: HTTPServer, tmp_path: Path, arguments: tuple[str, ...]):
    database.told = {"vulns": [ADVISORY]}
    status, told = audit(tmp_path, f"http://127.0.0.1:{database.server_port}/", *arguments)
    assert "VULNERABLE harmless 1.0: TEST-2026-1, mended in 2.0" in told
    assert status == 1


def test_nothing_known_is_good(database: HTTPServer, tmp_path: Path):
    status, told = audit(tmp_path, f"http://127.0.0.1:{database.server_port}/")
    assert "1 packages, no known vulnerability" in told
    assert status == 0


@pytest.mark.parametrize(("arguments", "status"), [((), 3), (("--offline-ok",), 0)])
def test_a_database_that_does_not_answer_is_told_from_both(tmp_path: Path, arguments: tuple[str, ...], status: int):
    ended, told = audit(tmp_path, "http://127.0.0.1:1/", *arguments)
    assert "NOT AUDITED: no advisory database that answers here knows 1 of 1 packages" in told
    assert ended == status
