"""What the viewer asks for: index, lines, search."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from logs.models import Output
from logs.output import Recorder
from runners.models import Run
from tests.support import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create_user("reader"))
    return client


@pytest.fixture
def run() -> Run:
    return rows.run(rows.event(rows.repository(), status="2"))


@pytest.fixture
def recorder(run: Run) -> Recorder:
    return Recorder(run.pk, ("clone", "build"), [])


def url(run: Run, what: str) -> str:
    return f"/job/{run.pk}/output/{what}/"


def test_the_index_tells_containers_steps_gaps_and_the_first_error(reader: Client, run: Run, recorder: Recorder):
    recorder.append("clone", b"Cloning\n", "1")
    recorder.end("clone", 8, 1)
    recorder.append("build", b"#1 [1/1] RUN x\n", "1")
    recorder.append("build", b"#1 0.5 error: no\n#1 ERROR: exit code 1\n", "2", missing=100)
    recorder.close("failed")
    index = reader.get(url(run, "index")).json()
    assert (index["lines"], index["complete"], index["closed"], index["outcome"], index["first_error"]) == (
        4,
        True,
        True,
        "failed",
        3,
    )
    assert [(one["name"], one["line"], one["verdict"]) for one in index["containers"]] == [("clone", 1, "gap"), ("build", 2, "gap")]
    assert index["gaps"] == [{"line": 3, "container": "build", "missing": 100}]
    assert index["sections"] == [{"key": "#1", "first": 2, "last": 4, "title": "[1/1] RUN x", "state": "failed", "seconds": None}]


def test_a_container_took_as_long_as_its_run_says(reader: Client, run: Run, recorder: Recorder):
    Run.objects.filter(pk=run.pk).update(phases={"build": {"started": "2026-11-23T08:00:00Z", "finished": "2026-11-23T08:01:30Z"}})
    recorder.append("build", b"x\n", "1")
    assert reader.get(url(run, "index")).json()["containers"][0]["seconds"] == 90


def test_the_index_of_a_run_that_printed_nothing_is_empty(reader: Client, run: Run):
    index = reader.get(url(run, "index")).json()
    assert (index["lines"], index["size"], index["closed"], index["sections"], index["containers"]) == (0, 0, False, [], [])


def test_lines_are_counted_from_one(reader: Client, run: Run, recorder: Recorder):
    recorder.append("build", b"".join(b"line %d\n" % number for number in range(1, 101)), "1")
    answer = reader.get(url(run, "lines"), {"first": 10, "count": 2}).json()
    assert (answer["first"], answer["rows"], answer["lines"]) == (10, ["line 10", "line 11"], 100)
    assert (answer["start"], answer["end"]) == (9 * 7, 9 * 7 + 16)
    assert reader.get(url(run, "lines"), {"first": -2}).json()["rows"] == ["line 99", "line 100"]
    assert len(reader.get(url(run, "lines")).json()["rows"]) == 100


@pytest.mark.parametrize(
    ("what", "query", "field"),
    [
        ("lines", {"first": "x"}, "first"),
        ("lines", {"count": 0}, "count"),
        ("lines", {"count": 2001}, "count"),
        ("lines", {"first": 10**14}, "first"),
        ("search", {}, "q"),
        ("search", {"q": "x" * 501}, "q"),
        ("search", {"q": "a\nb"}, "q"),
        ("search", {"q": "(", "regex": "1"}, "q"),
        ("search", {"q": "x", "from": "0"}, "from"),
        ("index", {"x": "1"}, "x"),
    ],
)
def test_what_is_asked_wrongly_is_refused(reader: Client, run: Run, what: str, query: dict[str, str], field: str):
    answer = reader.get(url(run, what), query)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (400, [field])


def test_a_bad_expression_is_refused_with_what_is_wrong_with_it(reader: Client, run: Run):
    answer = reader.get(url(run, "search"), {"q": "a(b", "regex": "1"})
    assert "missing )" in answer.json()["detail"]


def test_a_search_tells_what_it_finds_while_it_goes_on(reader: Client, run: Run, recorder: Recorder):
    recorder.append("build", b"one\nneedle\nthree\nNeedle\n", "1")
    answer = reader.get(url(run, "search"), {"q": "needle"})
    told = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert [line for each in told for line in each["lines"]] == [2, 4]
    assert (told[-1]["total"], told[-1]["line"], told[-1]["done"]) == (2, 5, True)
    answer = reader.get(url(run, "search"), {"q": "needle", "from": "3"})
    assert [line for each in b"".join(answer.streaming_content).splitlines() for line in json.loads(each)["lines"]] == [4]


def test_what_retention_removed_is_told(reader: Client, run: Run, recorder: Recorder):
    recorder.append("build", b"x\n", "1")
    recorder.close("succeeded")
    Output.objects.update(removed_at=timezone.now())
    assert reader.get(url(run, "index")).json()["removed_at"]
    assert reader.get(url(run, "lines")).status_code == 410
    assert reader.get(url(run, "search"), {"q": "x"}).status_code == 410


@pytest.mark.parametrize("what", ["index", "lines", "search"])
def test_an_unknown_run_is_not_found(reader: Client, what: str):
    assert reader.get(f"/job/4711/output/{what}/", {"q": "x"} if what == "search" else {}).status_code == 404


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize(("what", "most"), [("index", 16), ("lines", 12)])
def test_queries_do_not_grow_with_the_output(
    reader: Client, run: Run, recorder: Recorder, size: int, what: str, most: int, django_assert_max_num_queries
):
    step = b"#%d [1/1] RUN x\n" + b"#%d 0.1 some output of this step\n" * 3000 + b"#%d DONE 1.0s\n\n"
    for number in range(size):
        recorder.append("build", step.replace(b"%d", b"%d" % number), str(number + 1))
    recorder.close("succeeded")
    reader.get(url(run, "index"))
    with django_assert_max_num_queries(most):
        reader.get(url(run, what), {"first": size * 1000} if what == "lines" else {})
