"""What every container's script does around its work, in each shell that builder images have."""

import base64
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runners.backends import manifest

REPORT = (Path(manifest.__file__).parent / "scripts" / "report.sh").read_text()
SHELLS = [command for command in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(command[0])]


def cksum(data: bytes) -> list[int]:
    return [int(number) for number in subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout.split()]


@pytest.fixture(params=SHELLS, ids=lambda command: command[0])
def run(request, tmp_path):
    """Run `main() { … }` as a container does: (exit code, output, report)."""

    def run(body: str) -> tuple[int, bytes, dict]:
        message = tmp_path / "message"
        message.touch()
        env = {"PATH": "/usr/bin:/bin", "CI_PORTAL_REPORT": str(message), "CI_PORTAL_GRACE": "1"}
        done = subprocess.run(
            [*request.param, "-c", f"main() {{\n{body}\n}}\n{REPORT}"],
            env=env,
            stdout=subprocess.PIPE,
            start_new_session=True,
            timeout=30,
        )
        assert message.stat().st_size < 4096
        return done.returncode, done.stdout, json.loads(message.read_text())

    return run


def test_count_and_checksum_are_of_exactly_what_was_printed(run):
    code, printed, report = run("printf 'out\\n'; printf 'err\\n' >&2; head -c 300000 /dev/zero; printf end")
    assert code == 0
    assert printed == b"out\nerr\n" + bytes(300000) + b"end"
    assert [report["cksum"], report["bytes"]] == cksum(printed)
    assert "tail" not in report


def test_what_was_printed_is_counted_without_its_carriage_returns_too(run):
    _, printed, report = run(r"printf 'one\r\ntwo\r\r\n50%%\r100%%\n\r'")
    assert printed == b"one\r\ntwo\r\r\n50%\r100%\n\r"
    assert [report["bare_cksum"], report["bare_bytes"]] == cksum(b"one\ntwo\n50%100%\n")


def test_a_container_that_prints_nothing_reports_so(run):
    _, printed, report = run(":")
    assert [report["cksum"], report["bytes"]] == cksum(printed) == cksum(b"")


@pytest.mark.parametrize(
    ("body", "expected"), [("exit 3", 3), ("false", 1), ("sh -c 'kill -KILL $PPID'", 137), ("true; exit 0", 0)]
)
def test_the_exit_code_is_the_one_of_the_work(run, body, expected):
    assert run(body)[0] == expected


def test_a_killed_child_is_no_success(run):
    code, _, report = run("sh -c 'kill -KILL $$'")
    assert code == report["exit"] == 137


def test_a_failure_reports_its_last_lines(run):
    _, _, report = run("""i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done; printf 'the "end" \\\\ ü'; exit 1""")
    tail = base64.b64decode(report["tail"]).decode()
    assert tail.rstrip("\n").endswith('line 299\nthe "end" \\ ü')
    assert len(tail) <= 2100


def test_a_long_line_keeps_its_beginning_and_end_in_the_report(run):
    _, printed, report = run("printf 'error: '; head -c 9000 /dev/zero | tr '\\0' x; echo ': denied'; exit 1")
    tail = base64.b64decode(report["tail"]).decode()
    assert tail.startswith("error: ")
    assert tail.endswith(": denied\n")
    assert len(tail) < 400
    assert report["bytes"] == len(printed)


def test_what_a_script_reports_is_in_the_message(run):
    code, _, report = run("report commit abc123; fail clone_failed 'it did not work'")
    assert code == 1
    assert (report["commit"], report["error"]) == ("abc123", "clone_failed")


def test_what_is_reported_can_not_break_the_message(run):
    _, _, report = run("""report digest 'sha256:12","exit":"0'""")
    assert report == {**report, "digest": "sha256:12exit:0", "exit": 0}


def test_a_process_that_is_left_running_does_not_hold_up_the_end(run):
    started = time.monotonic()
    code, printed, _ = run("sleep 20 & echo done")
    assert (code, printed) == (0, b"done\n")
    assert time.monotonic() - started < 15


def test_there_is_nothing_to_read(run):
    assert run("cat")[1] == b""


@pytest.mark.parametrize("shell", SHELLS, ids=lambda command: command[0])
def test_a_container_that_is_stopped_still_reports(shell, tmp_path):
    message = tmp_path / "message"
    env = {"PATH": "/usr/bin:/bin", "CI_PORTAL_REPORT": str(message)}
    body = "echo started; sleep 20; echo never"
    process = subprocess.Popen(
        [*shell, "-c", f"main() {{\n{body}\n}}\n{REPORT}"], env=env, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait(10) != 0
    report = json.loads(message.read_text())
    assert report["error"] == "stopped"
    assert [report["cksum"], report["bytes"]] == cksum(b"started\n" + rest)
