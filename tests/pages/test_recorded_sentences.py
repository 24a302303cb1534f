"""What rows hold in English is told in Chinese on pages, and left alone everywhere else."""

import re

import pytest
from django.test import Client
from django.utils import translation

from ci_portal.api.sentences import FREE, SENTENCES, told, translated
from logs.models import Log
from runners.backends import diagnosis, local_reasons, reasons
from tests.support import rows

CHINESE = {"Accept-Language": "zh-CN"}
FIXED = [
    *(sentence for _, _, sentence in (*diagnosis._GIT, *diagnosis._REGISTRY)),
    *diagnosis._CLONE_ERRORS.values(),
    *(sentence for _, sentence in reasons._DISRUPTIONS.values()),
    local_reasons.LOST,
    local_reasons.LOST_HERE,
    local_reasons.RESTARTED,
    local_reasons.CONTAINER_ENDED,
    local_reasons.GONE,
    local_reasons.STOPPED,
    local_reasons.KILLED,
]


@pytest.fixture(autouse=True)
def chinese():
    with translation.override("zh-hans"):
        yield


@pytest.mark.parametrize("sentence", FIXED)
def test_every_sentence_that_says_why_is_known_in_chinese(sentence):
    words = translated(re.sub(r"\{\w+\}", "something", sentence))
    assert words is not None
    assert re.search("[\u4e00-\u9fff]", words)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_is_found_again_with_all_its_parts(sentence):
    parts = dict.fromkeys(re.findall(r"\{(\w+)\}", sentence))
    recorded = sentence.format(**{name: f"part-{number}" for number, name in enumerate(parts)})
    words = translated(recorded)
    assert words is not None
    assert re.search("[\u4e00-\u9fff]", words)
    assert all(f"part-{number}" in words for number in range(len(parts)))


def test_a_reason_within_a_line_of_history_is_told_too():
    line = "run exporter-1 failed: Line 3 of the Dockerfile failed: RUN make (exit code 2)"
    assert translated(line) == "运行 exporter-1 失败：Dockerfile 第 3 行失败：RUN make（退出码 2）"


def test_a_name_is_no_sentence():
    assert translated("repository events deleted") == "代码库 events 已删除"


def test_each_part_of_a_verdict_is_told():
    assert translated("clone: 10 bytes; build could not report what it printed") == "clone：10 字节；build 无法报告它打印了什么"


def test_what_is_not_known_is_marked_as_english_and_stays_text():
    assert told("<b>Something</b> new.") == '<span lang="en">&lt;b&gt;Something&lt;/b&gt; new.</span>'


def test_an_english_page_tells_what_was_recorded():
    with translation.override("en"):
        assert told("the Job is suspended") == "the Job is suspended"


@pytest.mark.parametrize("sentence", SENTENCES)
def test_comparing_takes_no_more_than_the_square_of_a_texts_length(sentence):
    assert len(FREE.intersection(re.findall(r"\{(\w+)\}", sentence))) <= 2


@pytest.mark.django_db
def test_the_pages_tell_history_reason_and_verdict_in_chinese(client: Client):
    exporter = rows.repository()
    event = rows.event(exporter, status="4", reason="Superseded by event event-exporter-buildv202611230802.")
    run = rows.run(event)
    Log.objects.record(f"run {run.name} started", repo_name="exporter", event=event, run=run)
    for address in (f"/builds/{event.pk}/", "/repos/exporter/"):
        page = client.get(address, headers=CHINESE).content.decode()
        assert f"运行 {run.name} 已开始" in page
        assert "已被事件 event-exporter-buildv202611230802 取代。" in page
    assert "已被事件" in client.get("/builds/", headers=CHINESE).content.decode()


@pytest.mark.django_db
def test_the_api_answers_what_was_recorded(client: Client):
    event = rows.event(rows.repository(), status="4", reason="the Job is suspended")
    assert client.get(f"/event/{event.pk}/", headers=CHINESE).json()["reason"] == "the Job is suspended"
