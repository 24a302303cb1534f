"""What is folded together: the steps that a builder tells of."""

from itertools import count

import pytest

from logs.line_index import all_landmarks, open_index
from logs.output import Recorder
from logs.sections import Found, cut

pytestmark = pytest.mark.django_db

BUILDKIT = """\
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 123B done
#1 DONE 0.1s

#2 [1/3] FROM docker.io/library/alpine
#2 CACHED

#3 [2/3] RUN make
#3 0.201 gcc -c a.c
#3 ...

#4 [side 1/1] RUN true
#4 DONE 2.0s

#3 [2/3] RUN make
#3 1.201 a.c:3:1: error: expected ';'
#3 1.301 make: *** [a.o] Error 1
#3 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2

#5 exporting to image
#5 CANCELED
------
 > [2/3] RUN make:
1.201 a.c:3:1: error: expected ';'
------
ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2
"""

BUILDAH = """\
STEP 1/3: FROM scratch
STEP 2/3: RUN make
cc a.c
a.c: fatal error: stdio.h: No such file
[1/2] STEP 3/3: COPY x y
Error: building at STEP "COPY x y": no such file or directory
"""


run_ids = count(1)


def found(text: str, outcome: str = "", clone: str = "") -> Found:
    recorder = Recorder(next(run_ids), ("clone", "build"), [])
    if clone:
        recorder.append("clone", clone.encode(), "1")
    recorder.append("build", text.encode(), "1")
    index = open_index(recorder.output)
    return cut(all_landmarks(index), [0, clone.count("\n")], index.lines, outcome, 0)


def told(text: str, outcome: str = "", clone: str = "") -> list[tuple]:
    sections = found(text, outcome, clone).sections
    return [(one.key, one.first + 1, None if one.last is None else one.last + 1, one.state, one.seconds) for one in sections]


def test_buildkits_steps_are_sections_with_their_ends():
    assert told(BUILDKIT, "failed") == [
        ("#1", 1, 3, "done", 0.1),
        ("#2", 5, 6, "cached", None),
        ("#3", 8, 11, "failed", None),
        ("#4", 12, 13, "done", 2.0),
        ("#3", 15, 18, "failed", None),
        ("#5", 20, 21, "cancelled", None),
    ]


def test_titles_are_what_the_builder_says():
    assert [one.title for one in found(BUILDKIT).sections][:3] == [
        "[internal] load build definition from Dockerfile",
        "[1/3] FROM docker.io/library/alpine",
        "[2/3] RUN make",
    ]


def test_the_first_error_is_the_failed_steps_own():
    noise = BUILDKIT.replace("#3 0.201 gcc", "#3 0.201 no problem\n#3 0.202 gcc", 1).replace(
        "#2 CACHED", "#2 error: not this\n#2 CACHED"
    )
    line = found(noise, "failed").first_error
    assert noise.split("\n")[line].startswith("#3 1.201 a.c:3:1: error:")


def test_without_such_a_line_it_is_what_the_builder_said():
    text = BUILDKIT.replace("error: expected", "expected").replace("Error 1", "")
    assert text.split("\n")[found(text, "failed").first_error].startswith("#3 ERROR: process")


def test_only_what_failed_has_a_first_error():
    assert found(BUILDKIT, "succeeded").first_error is None
    assert found(BUILDKIT, "").first_error is None
    assert found("nothing to see\n", "failed").first_error is None


def test_without_steps_it_is_the_first_of_all():
    assert found("fine\nfatal: not a repository\nerror: x\n", "failed").first_error == 1


def test_buildahs_steps_follow_one_another():
    assert [each[:4] for each in told(BUILDAH, "failed")] == [
        ("STEP 1/3", 1, 1, "done"),
        ("STEP 2/3", 2, 4, "done"),
        ("[1/2] STEP 3/3", 5, 6, "failed"),
    ]
    assert found(BUILDAH, "failed").first_error == 5


def test_the_step_that_runs_is_open():
    assert told(BUILDAH)[-1] == ("[1/2] STEP 3/3", 5, None, "running", None)
    assert told("#1 [1/2] RUN x\n#1 0.1 y\n") == [("#1", 1, None, "running", None)]


def test_the_last_step_of_a_good_build_is_done_and_of_a_cancelled_one_cancelled():
    assert told(BUILDAH, "succeeded")[-1][3] == "done"
    assert told(BUILDAH, "cancelled")[-1][3] == "cancelled"


def test_a_section_ends_with_its_container():
    sections = told("STEP 1/1: RUN x\n", "succeeded", clone="STEP 1/9: in the clone\nmore\n")
    assert [each[:3] for each in sections] == [("STEP 1/9", 1, 2), ("STEP 1/1", 3, 3)]


def test_what_a_step_prints_is_no_step():
    text = "#1 [1/2] RUN x\n#1 0.1 #9 [fake]\n#1 0.2 #1 DONE 9s\n#1 0.3 STEP 1/1: fake\n#1 DONE 0.4s\n"
    assert told(text, "succeeded") == [("#1", 1, 5, "done", 0.4)]
